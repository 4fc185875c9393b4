//! What a supervisor is made of, made anew where it is missing.

use crate::process::child::Plan;
use crate::process::identity::Identity;
use crate::sys::{CallerSignals, Owner};
use crate::{Config, Error};

/// The configuration, and what the first supervisor was started with.
pub(crate) struct Setup {
    config: Config,
    /// The signals that were ignored and blocked.
    signals: (u64, u64),
}

impl Setup {
    pub(crate) fn new(config: &Config, signals: (u64, u64)) -> Self {
        Setup { config: config.clone(), signals }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn signals(&self) -> (u64, u64) {
        self.signals
    }

    /// The owner of the socket.
    pub(crate) fn owner(&self) -> Result<Owner, Error> {
        Identity::of_socket(&self.config, &Identity::of_workers(&self.config)?)
    }

    /// The plan for the workers.
    pub(crate) fn plan(&self) -> Result<Plan, Error> {
        let identity = Identity::of_workers(&self.config)?;
        let (ignored, blocked) = self.signals;
        let signals = CallerSignals::from_bits(ignored, blocked);
        Plan::supervised(&self.config, &identity, signals, self.config.heartbeat.is_some())
    }
}
