//! A private Redis Cluster.

use crate::{process::free_port, redis::RedisServer, resp::redis_command, wait::until};

const SLOTS: u32 = 16_384;

/// Redis nodes that share the 16,384 slots, each with a number of replicas. Dropping it ends them.
#[derive(Debug)]
pub struct RedisCluster {
    /// Masters first, in the order of their slots; then the replicas of each.
    nodes: Vec<RedisServer>,
    masters: usize,
}

impl RedisCluster {
    /// Three masters; `None` where there is no `redis-server`.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(3, 0)
    }

    /// `masters` nodes that share the slots, each with `replicas`; returns when every node sees the
    /// whole cluster. `None` where there is no `redis-server`.
    #[must_use]
    pub fn start_with(masters: usize, replicas: usize) -> Option<Self> {
        let mut nodes = Vec::new();
        for _ in 0..masters * (1 + replicas) {
            let node = RedisServer::builder()
                .option("cluster-enabled", "yes")
                .option("cluster-port", &free_port().to_string())
                .option("cluster-node-timeout", "2000")
                .option("cluster-replica-validity-factor", "0");
            nodes.push(node.start()?);
        }
        let cluster = Self { nodes, masters };
        cluster.join();
        Some(cluster)
    }

    fn join(&self) {
        let masters = u32::try_from(self.masters).unwrap_or(1);
        for (at, node) in (0..).zip(&self.nodes) {
            if at < masters {
                let first = (SLOTS * at / masters).to_string();
                let last = (SLOTS * (at + 1) / masters - 1).to_string();
                node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
        }
        let bus = |node: &RedisServer| node.command(&["CONFIG", "GET", "cluster-port"]);
        let first = self.nodes[0].port().to_string();
        let first_bus = bus(&self.nodes[0]);
        let first_bus = first_bus.lines().last().unwrap_or_default();
        for node in &self.nodes[1..] {
            node.command(&["CLUSTER", "MEET", "127.0.0.1", &first, first_bus]);
        }
        self.until_agreed(|state| state.contains("cluster_state:ok"));
        for (at, replica) in self.nodes[self.masters..].iter().enumerate() {
            let id = self.nodes[at % self.masters].command(&["CLUSTER", "MYID"]);
            // Refused until the gossip has brought the master's id.
            until("a replica that knows its master", || {
                redis_command(replica.port(), &["CLUSTER", "REPLICATE", &id]).ok()
            });
            until("a replica in sync with its master", || {
                let info = replica.command(&["INFO", "replication"]);
                info.contains("master_link_status:up").then_some(())
            });
        }
        for (at, master) in self.nodes[..self.masters].iter().enumerate() {
            // `WAIT` counts a replica only from its first acknowledgement on.
            let replicas = self.nodes[self.masters..].iter().skip(at).step_by(self.masters).count();
            until("a master that counts its replicas", || {
                let info = master.command(&["INFO", "replication"]);
                (info.matches("state=online").count() == replicas).then_some(())
            });
        }
    }

    fn until_agreed(&self, agreed: impl Fn(&str) -> bool) {
        let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
        for node in &self.nodes {
            until("a cluster whose nodes know each other", || {
                let state = node.command(&["CLUSTER", "INFO"]);
                (agreed(&state) && state.contains(&known)).then_some(())
            });
        }
    }

    /// The URL of each node.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// The nodes: masters first, in the order of their slots, then the replicas.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// A node, to kill or pause it.
    pub fn node_mut(&mut self, at: usize) -> &mut RedisServer {
        &mut self.nodes[at]
    }

    /// Which master served `slot` when the cluster was started.
    pub fn master_of_slot(&self, slot: u32) -> usize {
        let masters = u32::try_from(self.masters).unwrap_or(1);
        (0..self.masters)
            .find(|at| slot < SLOTS * (u32::try_from(*at).unwrap_or(0) + 1) / masters)
            .unwrap_or(0)
    }
}
