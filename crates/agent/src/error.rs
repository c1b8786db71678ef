//! Why the agent as a whole cannot go on.

use std::path::PathBuf;

/// Why the agent, or a part of it that was asked directly, cannot go on.
/// Troubles of single tasks are no errors: they are reported with the task.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container runtime.
    #[error("the container runtime failed")]
    Runtime(#[from] crate::runtime::Error),
    /// The network namespaces.
    #[error("network namespaces cannot be managed")]
    Network(#[from] crate::netns::Error),
    /// The data directory.
    #[error("cannot {what} {path}")]
    #[allow(missing_docs)]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    /// A state file does not say what it should.
    #[error("the state in {path} is not readable")]
    #[allow(missing_docs)]
    State { path: PathBuf, source: serde_json::Error },
    /// The control plane will not have us.
    #[error("the control plane refused this instance: {0}")]
    Refused(String),
    /// The configuration contradicts itself.
    #[error("invalid configuration: {0}")]
    Config(String),
}

impl Error {
    /// Wraps a trouble with a file.
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, path: path.into(), source }
    }
}

/// What came of a removal: that there was nothing to remove is no error.
pub(crate) fn unless_missing(removed: std::io::Result<()>) -> std::io::Result<()> {
    removed.or_else(
        |error| {
            if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
        },
    )
}

/// An error and its causes in one line, each once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
