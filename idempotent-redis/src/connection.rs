//! One connection that all calls share, and what is done when it breaks.

use std::{future::Future, time::Duration};

use idempotent_runtime::StoreError;
use redis::{
    Cmd, ErrorKind, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, ConnectionManager},
};

use crate::{
    error::{ReplicasBehind, store_error},
    script::{Script, ScriptCall},
};

/// How many replicas have to acknowledge a write before it is believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replicas {
    pub(crate) wanted: u32,
    pub(crate) within: Duration,
}

/// A connection to one server or to a cluster. Cloning it is cheap, and clones share its sockets.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(ConnectionManager),
    #[cfg(feature = "cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Connection {
    /// Calls a script: one round trip, unless the server has lost it.
    pub(crate) async fn call(
        &self,
        script: &Script,
        call: &ScriptCall<'_>,
        replicas: Option<Replicas>,
    ) -> Result<Value, StoreError> {
        let send = async |command: &Cmd| match replicas {
            Some(replicas) => self.send_and_wait(command, replicas).await,
            None => self.send(command).await.map(|value| (value, Ok(()))),
        };
        let command = script.by_hash(call);
        let mut answer = send(&command).await;
        if script.repeatable
            && let Err(error) = &answer
            && error.is_connection_dropped()
        {
            // The next call waits for the new connection, so this one need not fail.
            answer = send(&command).await;
        }
        if let Err(error) = &answer
            && error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        {
            answer = send(&script.by_code(call)).await;
        }
        let (value, replicated) = answer.map_err(store_error)?;
        replicated.map_err(StoreError::unavailable)?;
        Ok(value)
    }

    async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        // A copy of the handle each: the driver wants it mutable, and it is no more than an `Arc`.
        match self.clone() {
            Self::Single(mut connection) => connection.req_packed_command(command).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(mut connection) => connection.req_packed_command(command).await,
        }?
        .extract_error()
    }

    /// Both commands travel together: `WAIT` speaks of what its own connection has written, and on
    /// another one would count replicas that have seen nothing.
    async fn send_and_wait(
        &self,
        command: &Cmd,
        Replicas { wanted, within }: Replicas,
    ) -> RedisResult<(Value, Result<(), ReplicasBehind>)> {
        let mut wait = redis::cmd("WAIT");
        wait.arg(wanted).arg(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let mut both = redis::pipe();
        both.add_command(command.clone()).add_command(wait).ignore_errors();
        let (value, acknowledged): (RedisResult<Value>, RedisResult<u32>) = match self.clone() {
            Self::Single(mut connection) => both.query_async(&mut connection).await?,
            #[cfg(feature = "cluster")]
            Self::Cluster(mut connection) => both.query_async(&mut connection).await?,
        };
        let (value, acknowledged) = (value?, acknowledged?);
        let enough = acknowledged >= wanted;
        Ok((value, enough.then_some(()).ok_or(ReplicasBehind { acknowledged, wanted })))
    }

    /// Gives up connections whose answers have gone astray: the server closes them, and new ones are
    /// made.
    pub(crate) async fn reset(&self) {
        let quit = redis::cmd("QUIT");
        // Whatever this is answered: the connection is worth nothing any more.
        let _ = match self.clone() {
            Self::Single(mut connection) => connection.req_packed_command(&quit).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(mut connection) => {
                use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
                let nodes = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllNodes, None));
                connection.route_command(quit, nodes).await
            }
        };
    }

    /// What each server says of its memory.
    pub(crate) fn memory(&self) -> impl Future<Output = RedisResult<Vec<String>>> {
        let connection = self.clone();
        async move {
            let mut info = redis::cmd("INFO");
            info.arg("memory");
            match connection {
                Self::Single(mut connection) => Ok(vec![info.query_async(&mut connection).await?]),
                #[cfg(feature = "cluster")]
                Self::Cluster(mut connection) => {
                    use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
                    let nodes = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                    let answers = connection.route_command(info, nodes).await?;
                    let answers: std::collections::HashMap<String, String> =
                        redis::from_redis_value(answers)?;
                    Ok(answers.into_values().collect())
                }
            }
        }
    }
}
