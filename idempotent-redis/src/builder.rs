//! Options of a store, and their defaults.

use std::time::Duration;

use redis::{
    Client, IntoConnectionInfo, ProtocolVersion,
    aio::ConnectionManagerConfig,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use crate::{
    RedisStore,
    connection::{Connection, Replicas, Single},
    error::ConnectError,
    eviction::warn_of_eviction,
};

const PREFIX: &str = "idempotent:";
/// Below the engine's `store_timeout`, so that the connection learns of a server that hangs.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(1500);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// A lost network, as opposed to a slow server: nothing acknowledged for so long breaks a connection.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a broken connection is tried again before waiting calls are told.
const RECONNECTIONS: usize = 3;
const RECONNECT_AFTER: Duration = Duration::from_millis(20);
/// Calls that wait to be written.
const QUEUE: usize = 1024;

/// Configures a [`RedisStore`].
///
/// | option | default |
/// |---|---|
/// | [`prefix`](Self::prefix) | `idempotent:` |
/// | [`response_timeout`](Self::response_timeout) | 1.5 s |
/// | [`connection_timeout`](Self::connection_timeout) | 1 s |
/// | [`wait_for_replicas`](Self::wait_for_replicas) | none |
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisStoreBuilder {
    prefix: String,
    response_timeout: Duration,
    connection_timeout: Duration,
    replicas: Option<Replicas>,
}

impl RedisStoreBuilder {
    pub(crate) fn new() -> Self {
        Self {
            prefix: PREFIX.to_owned(),
            response_timeout: RESPONSE_TIMEOUT,
            connection_timeout: CONNECTION_TIMEOUT,
            replicas: None,
        }
    }

    /// Sets what each key begins with. Stores with different prefixes share nothing; a deployment
    /// that changes it forgets all records. No braces: the hash tag is that of the storage key, so
    /// that the keys spread over a cluster.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long an answer of the server is waited for, before the call is
    /// [`StoreError::Timeout`](idempotent_runtime::StoreError::Timeout). Keep it below the engine's
    /// `store_timeout`.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets how long one attempt to connect may take.
    pub fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.connection_timeout = timeout;
        self
    }

    /// Believes a write only when `replicas` of them have acknowledged it `within` that time (whole
    /// milliseconds, below the response timeout); see [failover](crate#failover).
    ///
    /// The `WAIT` travels with the script, so it costs no round trip of the client, but the reply is
    /// held until the replicas have answered, and so are those behind it on the connection. Where too
    /// few acknowledge in time, the call is `Unavailable` with a [`ReplicasBehind`](crate::ReplicasBehind):
    /// unknown, for the write stands on the master.
    pub fn wait_for_replicas(mut self, replicas: u32, within: Duration) -> Self {
        self.replicas = (replicas > 0).then_some(Replicas { wanted: replicas, within });
        self
    }

    /// Connects to one server: `redis://[user:password@]host[:port][/database]`, or whatever else is
    /// a [`redis::ConnectionInfo`].
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the options make no sense or the server cannot be reached.
    pub async fn connect(
        self,
        server: impl IntoConnectionInfo,
    ) -> Result<RedisStore, ConnectError> {
        self.check()?;
        let server = server.into_connection_info()?;
        // RESP3, because its connections notice that they are dead before the next call does.
        let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let server = server.set_redis_settings(settings).set_tcp_settings(tcp_settings());
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(self.response_timeout))
            .set_connection_timeout(Some(self.connection_timeout))
            .set_number_of_retries(RECONNECTIONS)
            .set_min_delay(RECONNECT_AFTER)
            .set_pipeline_buffer_size(QUEUE);
        let single = Single::connect(Client::open(server)?, config).await?;
        Ok(self.build(Connection::Single(single)).await)
    }

    /// Connects to a cluster, of which some nodes are named.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the options make no sense or no node can be reached.
    #[cfg(feature = "cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cluster")))]
    pub async fn connect_cluster<N: IntoConnectionInfo>(
        self,
        nodes: impl IntoIterator<Item = N>,
    ) -> Result<RedisStore, ConnectError> {
        self.check()?;
        let client = redis::cluster::ClusterClient::builder(nodes)
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(tcp_settings())
            .response_timeout(self.response_timeout)
            .overall_response_timeout(Some(self.response_timeout))
            .connection_timeout(self.connection_timeout)
            // Milliseconds. A failover takes seconds, which is more than a call may wait.
            .min_retry_wait(10)
            .max_retry_wait(200)
            .retries(8)
            .build()?;
        let connection = client.get_async_connection().await?;
        Ok(self.build(Connection::Cluster(connection)).await)
    }

    fn check(&self) -> Result<(), ConnectError> {
        const MILLISECOND: Duration = Duration::from_millis(1);
        if self.prefix.contains(['{', '}']) {
            return Err(ConnectError::Prefix(self.prefix.clone()));
        }
        let within = self.replicas.map(|replicas| replicas.within);
        let timeouts = [Some(self.response_timeout), Some(self.connection_timeout), within];
        // For `WAIT`, 0 is forever.
        if timeouts.into_iter().flatten().any(|timeout| timeout < MILLISECOND) {
            return Err(ConnectError::ZeroTimeout);
        }
        if within.is_some_and(|within| within >= self.response_timeout) {
            return Err(ConnectError::ReplicaTimeout);
        }
        Ok(())
    }

    async fn build(self, connection: Connection) -> RedisStore {
        warn_of_eviction(connection.memory().await);
        RedisStore::new(connection, self.prefix, self.replicas)
    }
}

fn tcp_settings() -> TcpSettings {
    let second = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new().with_time(NETWORK_TIMEOUT).with_interval(second);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(NETWORK_TIMEOUT);
    settings
}
