//! Whether the server may evict what it was trusted with.

use redis::RedisResult;
use tracing::warn;

/// Warns where a server evicts keys when its memory is full: an evicted record is a payment that runs
/// again when it is retried.
pub(crate) fn warn_of_eviction(memory: RedisResult<Vec<String>>) {
    let servers = match memory {
        Ok(servers) => servers,
        Err(error) => {
            warn!(
                %error,
                "could not check redis for its maxmemory-policy (INFO memory is refused); make sure \
                 that it is noeviction"
            );
            return;
        }
    };
    for server in servers {
        match policy(&server) {
            Some("noeviction") => {}
            Some(policy) => warn!(
                policy,
                "redis evicts keys when its memory is full: an operation whose record is evicted is \
                 executed again when it is retried; set maxmemory-policy to noeviction"
            ),
            None => warn!(
                "could not check redis for its maxmemory-policy (INFO memory does not tell it); make \
                 sure that it is noeviction"
            ),
        }
    }
}

fn policy(memory: &str) -> Option<&str> {
    memory.lines().find_map(|line| line.trim_end().strip_prefix("maxmemory_policy:"))
}

#[cfg(test)]
mod tests {
    use super::policy;

    #[test]
    fn the_policy_is_read_from_what_the_server_tells_of_its_memory() {
        let memory = "# Memory\r\nused_memory:1\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert_eq!(policy(memory), Some("allkeys-lru"));
        assert_eq!(policy("# Memory\r\n"), None);
    }
}
