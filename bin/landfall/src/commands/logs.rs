//! `landfall logs`: what containers wrote, read where the agent keeps it.

use super::{AnyError, access, block_on};
use crate::cli::Logs;
use crate::client::Client;
use crate::composition;
use crate::layout::Layout;
use agent::{Output, Piece, Reader};
use chassis::{Clock, SystemClock};
use ident::Timestamp;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;
use tokio::time::sleep;

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(100);
/// The most that is read of one container before another has its turn.
const CHUNK: usize = 1 << 16;
/// As long as a line may become before it is printed without its end.
const LINE: usize = 1 << 20;

/// One container's output.
struct Stream {
    /// What its lines begin with, if there are several containers.
    label: Option<String>,
    reader: Reader,
    /// What came of a line that is not complete yet.
    rest: Vec<u8>,
}

/// Prints the output of a task's containers, each line with its container's name
/// if there are several.
pub(crate) fn run(layout: &Layout, logs: &Logs) -> Result<(), AnyError> {
    let outputs = agent::outputs(&composition::agent_config(layout)?)?;
    let task = find(&outputs, &logs.task)?;
    let mut streams = open(&outputs, &task, logs)?;
    block_on(async {
        loop {
            // Asked before reading, so that what a task wrote last is not missed.
            let over = !logs.follow || stopped(layout, &task).await;
            let mut moved = false;
            for stream in &mut streams {
                moved |= stream.print()?;
            }
            if !moved && over {
                break;
            }
            if !moved {
                sleep(POLL).await;
            }
        }
        streams.iter_mut().try_for_each(Stream::finish)?;
        Ok(())
    })
}

/// The id of the task that `name` means: an ARN, an id, or a unique beginning.
fn find(outputs: &[Output], name: &str) -> Result<String, AnyError> {
    let beginning = name.rsplit('/').next().unwrap_or(name);
    let ids = outputs.iter().map(|output| output.task.as_str());
    let found: BTreeSet<&str> = ids.filter(|id| id.starts_with(beginning)).collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.to_owned()),
        (None, _) => Err(format!("no task on this machine is called {name}").into()),
        (Some(one), Some(other)) => {
            Err(format!("{name} may be {one} or {other}: say more of it").into())
        }
    }
}

fn open(outputs: &[Output], task: &str, logs: &Logs) -> Result<Vec<Stream>, AnyError> {
    let only = logs.container.as_deref();
    let since = logs.since.map(|ago| {
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        Timestamp(SystemClock.now().0.saturating_sub(ago))
    });
    let wanted: Vec<_> = outputs
        .iter()
        .filter(|output| output.task == task && only.is_none_or(|name| name == output.container))
        .collect();
    if let (true, Some(container)) = (wanted.is_empty(), only) {
        return Err(format!("the task has no output of a container {container}").into());
    }
    let several = wanted.len() > 1;
    wanted
        .into_iter()
        .map(|output| {
            let label = several.then(|| format!("{} | ", output.container));
            Ok(Stream { label, reader: Reader::open(output, since)?, rest: Vec::new() })
        })
        .collect()
}

/// Whether the task will write no more; so too if nobody can say.
async fn stopped(layout: &Layout, task: &str) -> bool {
    let Ok(client) = access(layout).and_then(|access| Client::new(&access)) else { return true };
    let Ok(tasks) = client.unstopped_tasks().await else { return true };
    !tasks.iter().any(|(_, arn)| arn.ends_with(task))
}

impl Stream {
    /// Prints the complete lines that came since; whether there was anything.
    fn print(&mut self) -> io::Result<bool> {
        let Piece { dropped, bytes } = self.reader.next(CHUNK)?;
        if dropped > 0 {
            self.finish()?;
            let label = self.label.as_deref().unwrap_or_default();
            eprintln!("{label}({dropped} bytes before this are no longer kept)");
        }
        if bytes.is_empty() {
            return Ok(false);
        }
        self.rest.extend(bytes);
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1);
        // What has no end for so long is printed in parts.
        let end = end.or((self.rest.len() >= LINE).then_some(self.rest.len()));
        let lines: Vec<u8> = self.rest.drain(..end.unwrap_or(0)).collect();
        self.write(&lines)?;
        Ok(true)
    }

    /// Prints the last line, if nothing ended it.
    fn finish(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() { Ok(()) } else { self.write(&rest) }
    }

    fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            out.write_all(self.label.as_deref().unwrap_or_default().as_bytes())?;
            out.write_all(line)?;
        }
        out.flush()
    }
}
