//! One connection that all calls share, and what is done when it breaks.

use std::{
    future::Future,
    io::{Error, ErrorKind as IoErrorKind},
    pin::pin,
    time::Duration,
};

use idempotent_runtime::StoreError;
use redis::{
    Cmd, ErrorKind, PushKind, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, SendError},
};
use tokio::{sync::watch, time::timeout};

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
    Single(Single),
    #[cfg(feature = "cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

/// How long a connection that has ended may take to say so to those who wait on it.
const FAREWELL: Duration = Duration::from_millis(100);

/// A connection to one server, made anew whenever it ends.
#[derive(Clone)]
pub(crate) struct Single {
    manager: ConnectionManager,
    /// Changes when a connection has ended and the next one is being made.
    ended: watch::Receiver<()>,
}

impl Single {
    pub(crate) async fn connect(
        client: redis::Client,
        config: ConnectionManagerConfig,
    ) -> RedisResult<Self> {
        let (end, ended) = watch::channel(());
        let config = config.set_push_sender(move |push: redis::PushInfo| {
            if push.kind == PushKind::Disconnection {
                end.send_replace(());
            }
            Ok::<_, SendError>(())
        });
        Ok(Self { manager: ConnectionManager::new_with_config(client, config).await?, ended })
    }

    /// The answer to what `send` sends. The driver fails what waits on a connection that ends, except
    /// for what is sent in the very moment in which its reader goes away on another thread: that lies
    /// in a queue which nobody reads, and would be waited for until the response timeout.
    async fn answer<T>(
        mut self,
        send: impl AsyncFnOnce(&mut ConnectionManager) -> RedisResult<T>,
    ) -> RedisResult<T> {
        self.ended.mark_unchanged();
        let mut answer = pin!(send(&mut self.manager));
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            Ok(()) = self.ended.changed() => {}
        }
        timeout(FAREWELL, answer)
            .await
            .unwrap_or_else(|_| Err(Error::from(IoErrorKind::BrokenPipe).into()))
    }
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
            Self::Single(connection) => {
                connection.answer(async |manager| manager.req_packed_command(command).await).await
            }
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
            Self::Single(connection) => {
                connection.answer(async |manager| both.query_async(manager).await).await?
            }
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
            Self::Single(mut connection) => connection.manager.req_packed_command(&quit).await,
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
                Self::Single(mut connection) => {
                    Ok(vec![info.query_async(&mut connection.manager).await?])
                }
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
