//! What this machine lets the lab do, and what would let it do more.

/// How much of the lab can run here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mode {
    blocked: Option<String>,
}

impl Mode {
    /// Whether hosts can be made.
    pub fn is_full(&self) -> bool {
        self.blocked.is_none()
    }
}

/// Looks.
pub fn probe() -> Mode {
    Mode { blocked: crate::host::probe().err().map(|error| error.to_string()) }
}
