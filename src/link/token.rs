//! The word in the environment that makes a process a keeper or a worker.
//!
//! It leaves the environment before any user code runs, so nothing that a worker starts mistakes itself for
//! one. A process that still carries it did not call `init` where it should have.

use crate::sys::environment;

use super::request::PROTOCOL;

/// The variable's name.
pub(crate) const VARIABLE: &str = "WATERTIGHT_TOKEN";

/// The descriptors that a keeper finds: the socket to its host, and the host's pidfd.
pub(crate) const KEEPER_SOCKET: i32 = 3;
pub(crate) const KEEPER_HOST: i32 = 4;

/// The descriptors that an executed worker finds: its lane, its doorbell, and the socket to its keeper.
pub(crate) const WORKER_LANE: i32 = 3;
pub(crate) const WORKER_DOORBELL: i32 = 4;
pub(crate) const WORKER_SETUP: i32 = 5;

/// How deep pools may nest: a worker of a worker of a worker, and so on.
pub(crate) const MAX_DEPTH: u32 = 10;

/// What a process is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A keeper, for workers of this depth.
    Keeper { depth: u32 },
    /// A worker of a keeper that does not fork.
    Worker,
    /// Of another protocol.
    Foreign,
}

impl Token {
    /// The variable's value.
    pub(crate) fn to_value(self) -> String {
        match self {
            Token::Keeper { depth } => format!("keeper {PROTOCOL} {depth}"),
            Token::Worker => format!("worker {PROTOCOL}"),
            Token::Foreign => String::new(),
        }
    }

    fn from_value(value: &str) -> Token {
        let words: Vec<&str> = value.split(' ').collect();
        let ours = words.get(1).is_some_and(|protocol| protocol.parse() == Ok(PROTOCOL));
        match (words.as_slice(), ours) {
            (["keeper", _, depth], true) => {
                depth.parse().map_or(Token::Foreign, |depth| Token::Keeper { depth })
            }
            (["worker", _], true) => Token::Worker,
            _ => Token::Foreign,
        }
    }

    /// Takes the token out of the environment.
    pub(crate) fn take() -> Option<Token> {
        let value = std::env::var(VARIABLE).ok()?;
        environment::remove(VARIABLE);
        Some(Token::from_value(&value))
    }

    /// Whether it still stands in the environment.
    pub(crate) fn is_pending() -> bool {
        std::env::var_os(VARIABLE).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        for token in [Token::Keeper { depth: 3 }, Token::Worker] {
            assert_eq!(Token::from_value(&token.to_value()), token);
        }
        for foreign in ["", "keeper", "keeper 99 1", "worker 99", "keeper 1 x"] {
            assert_eq!(Token::from_value(foreign), Token::Foreign);
        }
    }
}
