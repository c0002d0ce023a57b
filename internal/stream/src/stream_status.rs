//! Whether a stream's queries work, as the database last answered.
//!
//! Streams are independent: a stream whose query is refused is marked here, and only its own
//! channels are affected.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The reason why a stream cannot be served although the database answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct StreamProblem {
    /// The text for everybody, such as `/ready`. It names no table, column or value.
    pub summary: String,
    /// The text for the log, with the message of the database.
    pub detail: String,
}

/// The state of a stream's queries. All parts of a server share it.
#[derive(Debug, Default)]
pub struct StreamStatus(Mutex<QueryStates>);

#[derive(Debug, Default)]
struct QueryStates {
    /// Set once the database has accepted or refused the query.
    is_examined: bool,
    query_problem: Option<StreamProblem>,
    /// Set while the stream is off, which is no problem of the server.
    is_off: bool,
    permission_problem: Option<StreamProblem>,
}

impl StreamStatus {
    /// Returns whether the database has accepted or refused the stream's query.
    pub fn is_examined(&self) -> bool {
        self.lock().is_examined
    }

    /// Returns whether the database has refused the stream's query.
    pub fn is_broken(&self) -> bool {
        self.lock().query_problem.is_some()
    }

    /// Returns whether the database has accepted the stream's query and has not refused it since.
    pub fn is_working(&self) -> bool {
        let states = self.lock();
        states.is_examined && states.query_problem.is_none()
    }

    /// Returns whether the stream must be examined: it never was, or one of its queries is refused.
    pub fn needs_examination(&self) -> bool {
        let states = self.lock();
        !states.is_examined || states.query_problem.is_some() || states.permission_problem.is_some()
    }

    /// Returns whether the stream is off: the database lacks its tables, and nobody demands them.
    pub fn is_off(&self) -> bool {
        self.lock().is_off
    }

    /// Returns the reason why the stream is not served completely. `None` if all its queries work,
    /// and if it is off.
    pub fn problem(&self) -> Option<StreamProblem> {
        let states = self.lock();
        if states.is_off {
            return None;
        }
        let first = states.query_problem.as_ref();
        first.or(states.permission_problem.as_ref()).cloned()
    }

    /// Returns whether the database has refused the stream's query for permissions.
    pub fn has_broken_permissions(&self) -> bool {
        self.lock().permission_problem.is_some()
    }

    /// Records that the query works. Returns `true` if it was known to be refused.
    pub fn set_working(&self) -> bool {
        let mut states = self.lock();
        states.is_examined = true;
        states.is_off = false;
        states.query_problem.take().is_some()
    }

    /// Records that the query for permissions works. Returns `true` if it was known to be refused.
    pub fn set_permissions_working(&self) -> bool {
        self.lock().permission_problem.take().is_some()
    }

    /// Records that the query is refused. Returns `true` if it was not known to be refused.
    pub fn set_broken(&self, problem: StreamProblem) -> bool {
        let mut states = self.lock();
        states.is_examined = true;
        states.is_off = false;
        states.query_problem.replace(problem).is_none()
    }

    /// Records that the stream is off. Its channels cannot be read, and nothing reports it as a
    /// problem. Returns `true` if it was not known to be off.
    pub fn set_off(&self, problem: StreamProblem) -> bool {
        let mut states = self.lock();
        states.is_examined = true;
        states.query_problem = Some(problem);
        !std::mem::replace(&mut states.is_off, true)
    }

    /// Records that the query for permissions is refused. The stream is still served to clients
    /// whose token grants it. Returns `true` if it was not known to be refused.
    pub fn set_permissions_broken(&self, problem: StreamProblem) -> bool {
        self.lock().permission_problem.replace(problem).is_none()
    }

    /// Locks the state. It is copied out of the lock, so a poisoned lock is safe to use.
    fn lock(&self) -> MutexGuard<'_, QueryStates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(summary: &str) -> StreamProblem {
        StreamProblem {
            summary: summary.to_owned(),
            detail: String::new(),
        }
    }

    #[test]
    fn problem_lasts_until_all_queries_work() {
        let status = StreamStatus::default();
        assert!(!status.is_examined() && !status.is_working() && status.needs_examination());
        assert!(status.set_broken(problem("a")) && !status.set_broken(problem("b")));
        assert!(status.is_examined() && status.is_broken() && !status.is_working());
        assert_eq!(status.problem(), Some(problem("b")));
        assert!(status.set_working() && !status.set_working());
        assert!(status.is_working() && !status.needs_examination() && status.problem().is_none());
        assert!(status.set_off(problem("off")) && !status.set_off(problem("off")));
        assert!(status.is_off() && status.is_broken() && status.needs_examination());
        assert_eq!(status.problem(), None);
        assert!(!status.set_broken(problem("d")) && !status.is_off());
        assert!(status.set_working());
        assert!(status.set_permissions_broken(problem("c")));
        assert!(status.is_working() && status.needs_examination());
        assert_eq!(status.problem(), Some(problem("c")));
        assert!(status.set_permissions_working() && !status.needs_examination());
    }
}
