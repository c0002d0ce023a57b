//! The limits of attempts to claim a module with its code. Pure: the time is an argument.
//!
//! An attempt is counted before its code is checked, so attempts at the same time are not judged
//! beyond the limit. A user has ten wrong codes an hour. A module for which others sent ten is
//! still claimed by the user that knows its code, but leaves each user fewer attempts.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use latido_base::ident::UserId;

/// The number of wrong codes of a user per hour, for all modules together.
const MAX_PER_USER: usize = 10;
/// The number of wrong codes for a module after which a user has fewer attempts, and their number.
const MAX_PER_MODULE: usize = 10;
const MAX_PER_USER_AND_MODULE: usize = 3;
/// The time for which an attempt counts, in seconds.
const WINDOW_S: i64 = 3600;
/// The largest number of users and modules to count. Without room for another, no code is checked.
const MAX_COUNTED: usize = 100_000;

/// The error for an attempt whose code is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many wrong codes")]
pub(super) struct TooManyAttempts;

/// The attempts that still count.
#[derive(Debug, Default)]
pub(super) struct ClaimAttempts(Mutex<HashMap<AttemptKey, VecDeque<i64>>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum AttemptKey {
    User(UserId),
    Module(Box<str>),
    UserAndModule(UserId, Box<str>),
}

impl ClaimAttempts {
    /// Counts an attempt, as if its code were wrong.
    ///
    /// # Errors
    /// Returns an error if its code may not be checked.
    pub(super) fn start(
        &self,
        user: &UserId,
        module: &str,
        now_s: i64,
    ) -> Result<(), TooManyAttempts> {
        let mut attempts = self.lock();
        if attempts.len() >= MAX_COUNTED {
            attempts.retain(|_, times| times.back().is_some_and(|last| counts(*last, now_s)));
        }
        let [by_user, by_module, by_both] = keys(user, module);
        let mut count = |key: &AttemptKey| {
            let times = attempts.get_mut(key)?;
            times.retain(|time| counts(*time, now_s));
            Some(times.len())
        };
        let (of_user, of_module, of_both) = (count(&by_user), count(&by_module), count(&by_both));
        let is_known = of_user.is_some() && of_module.is_some() && of_both.is_some();
        let is_suspected = of_module.unwrap_or_default() >= MAX_PER_MODULE;
        if of_user.unwrap_or_default() >= MAX_PER_USER
            || (is_suspected && of_both.unwrap_or_default() >= MAX_PER_USER_AND_MODULE)
            || (!is_known && attempts.len() + 3 > MAX_COUNTED)
        {
            return Err(TooManyAttempts);
        }
        for key in [by_user, by_module, by_both] {
            let times = attempts.entry(key).or_default();
            times.push_back(now_s);
            // More of a module need not be counted.
            if times.len() > MAX_PER_MODULE {
                times.pop_front();
            }
        }
        Ok(())
    }

    /// Takes back the newest attempt of the user, whose code was right or was not checked.
    pub(super) fn take_back(&self, user: &UserId, module: &str) {
        let mut attempts = self.lock();
        for key in keys(user, module) {
            let Some(times) = attempts.get_mut(&key) else {
                continue;
            };
            times.pop_back();
            if times.is_empty() {
                attempts.remove(&key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptKey, VecDeque<i64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys(user: &UserId, module: &str) -> [AttemptKey; 3] {
    [
        AttemptKey::User(user.clone()),
        AttemptKey::Module(module.into()),
        AttemptKey::UserAndModule(user.clone(), module.into()),
    ]
}

/// Returns `true` if an attempt at this time still counts. A clock that was set back forgives none.
fn counts(time: i64, now_s: i64) -> bool {
    now_s < time.saturating_add(WINDOW_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        UserId::new(id)
    }

    #[test]
    fn user_has_ten_wrong_codes_an_hour() {
        let attempts = ClaimAttempts::default();
        let start = |module: &str, now| attempts.start(&user("eva"), module, now).is_ok();
        assert!((0..9).all(|n| start(&format!("M{n}"), 100)));
        assert!(start("M1", 1_000));
        assert!(!start("M1", 1_000) && !start("M77", 3_699));
        assert!(
            (0..9).all(|_| start("M5", 3_700)),
            "the first nine are over"
        );
        assert!(!start("M5", 4_599));
        assert!(start("M5", 4_600));
    }

    #[test]
    fn right_codes_do_not_count() {
        let attempts = ClaimAttempts::default();
        for n in 0..50 {
            attempts.start(&user("ana"), "M1", n).unwrap();
            attempts.take_back(&user("ana"), "M1");
        }
        assert!(attempts.lock().is_empty());
    }

    #[test]
    fn wrong_codes_of_others_leave_the_rightful_claimer_a_chance() {
        let attempts = ClaimAttempts::default();
        for n in 0..200 {
            let _ = attempts.start(&user(&format!("stranger{}", n % 40)), "M1", 100);
        }
        let start = |id: &str| attempts.start(&user(id), "M1", 100).is_ok();
        assert!(start("ana") && start("ana") && start("ana"));
        assert!(
            !start("ana"),
            "a module under attack leaves each user three"
        );
        assert!(attempts.start(&user("ana"), "M2", 100).is_ok());
    }
}
