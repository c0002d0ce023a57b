//! The findings of `latido doctor`.

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingLevel {
    /// The checked part works as it should.
    Ok,
    /// It works, but slower, later or less safely than possible.
    Warning,
    /// A part of the server will not work.
    Failure,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The severity of this finding.
    pub level: FindingLevel,
    /// The part that was checked.
    pub subject: String,
    /// The result of the check.
    pub detail: String,
    /// The recommended action, as text or SQL to run.
    pub with_remedy: Option<String>,
}

impl Finding {
    pub(super) fn new(
        level: FindingLevel,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            level,
            subject: subject.into(),
            detail: detail.into(),
            with_remedy: None,
        }
    }

    /// Creates a finding about something that is in order.
    pub fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FindingLevel::Ok, subject, detail)
    }

    /// Creates a finding that deserves attention; `latido doctor` still exits with 0.
    pub fn warning(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FindingLevel::Warning, subject, detail)
    }

    /// Creates a finding about something that does not work.
    pub fn failure(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FindingLevel::Failure, subject, detail)
    }

    /// Adds what the operator can do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.with_remedy = Some(remedy.into());
        self
    }
}
