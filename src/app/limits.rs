//! How many files the process may have open: a connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open beside connections of the ingress: the journal, the backends, the admin listener.
const BESIDE: u64 = 1200;

/// Takes as many open files as the system gives, and says so where they are too few for `max_connections`.
pub fn raise(max_connections: usize) {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        let all = Rlimit { current: before.maximum, maximum: before.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, all) {
            tracing::debug!("the limit of open files stays as it is: {error}");
        }
    }
    let wanted = BESIDE.saturating_add(max_connections as u64);
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < wanted) {
        tracing::warn!(
            limit,
            "open files are fewer than server.max_connections ({max_connections}) needs: over the limit new connections wait; \
             {wanted} would do (ulimit -n, LimitNOFILE=)"
        );
    }
}
