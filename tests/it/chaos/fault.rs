//! The kinds of injected faults.

/// One kind of injected fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Cut,
    HalfOpen,
    Trickle,
    Latency,
    BlackHole,
    Terminate,
    FreezeDatabase,
    KillDatabase,
    DiskFull,
    Failover,
    FreezeServer,
    KillServer,
    StopServer,
    ClockJump,
}

impl Fault {
    pub(super) const ALL: [Self; 14] = [
        Self::Cut,
        Self::HalfOpen,
        Self::Trickle,
        Self::Latency,
        Self::BlackHole,
        Self::Terminate,
        Self::FreezeDatabase,
        Self::KillDatabase,
        Self::DiskFull,
        Self::Failover,
        Self::FreezeServer,
        Self::KillServer,
        Self::StopServer,
        Self::ClockJump,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cut => "connections reset",
            Self::HalfOpen => "connections half open",
            Self::Trickle => "one byte at a time",
            Self::Latency => "latency",
            Self::BlackHole => "black hole",
            Self::Terminate => "storm of pg_terminate_backend",
            Self::FreezeDatabase => "SIGSTOP of postgres",
            Self::KillDatabase => "SIGKILL of postgres",
            Self::DiskFull => "disk full under postgres",
            Self::Failover => "failover to another port",
            Self::FreezeServer => "SIGSTOP of latido",
            Self::KillServer => "SIGKILL of latido",
            Self::StopServer => "SIGTERM of latido",
            Self::ClockJump => "the clock jumps a day and back",
        }
    }
}
