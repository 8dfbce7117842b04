//! How many files the process may have open: a connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open beside connections of the ingress: the journal, the backends, the admin listener.
const BESIDE: u64 = 1200;

/// Takes as many open files as the system gives. Gives how many connections leave enough of them for the journal, `max_connections` at
/// most, and says so where that is fewer.
pub fn connections(max_connections: usize) -> usize {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        let all = Rlimit { current: before.maximum, maximum: before.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, all) {
            tracing::debug!("the limit of open files stays as it is: {error}");
        }
    }
    let wanted = BESIDE.saturating_add(max_connections as u64);
    let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < wanted) else {
        return max_connections;
    };
    let most = usize::try_from(limit - BESIDE.min(limit / 2)).unwrap_or(max_connections).clamp(1, max_connections);
    tracing::warn!(
        limit,
        "open files are fewer than server.max_connections ({max_connections}) needs: over {most} new connections wait; \
         {wanted} would do (ulimit -n, LimitNOFILE=)"
    );
    most
}
