//! `landfall flows`: what passes network interfaces now and what is refused there, in
//! the words of VPC flow logs.

use super::{AnyError, access, block_on};
use crate::cli::Flows;
use crate::client::{Client, items};
use crate::layout::Layout;
use crate::terminal::{Tone, paint, progress, short, text};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;
use tokio::time::sleep;

/// How often a follower looks.
const PERIOD: Duration = Duration::from_secs(1);

const HEADING: [&str; 10] = [
    "ACTION",
    "WAY",
    "INTERFACE",
    "SOURCE",
    "DESTINATION",
    "PROTO",
    "PACKETS",
    "BYTES",
    "AGE",
    "TASK",
];
/// As wide as what is usual, so that the columns of a follower stay where they are.
const WIDTHS: [usize; 10] = [6, 7, 21, 21, 21, 5, 8, 10, 5, 0];

/// Prints flows, and with `--follow` those that come or change, until Ctrl-C.
pub(crate) fn run(layout: &Layout, wanted: &Flows) -> Result<(), AnyError> {
    let client = Client::new(&access(layout)?)?;
    let following = block_on(async {
        tokio::select! {
            done = follow(&client, wanted) => done,
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        }
    });
    match following {
        // Whoever read it, `head` say, has had enough.
        Err(error) if is_closed_pipe(error.as_ref()) => Ok(()),
        other => other,
    }
}

fn is_closed_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn follow(client: &Client, wanted: &Flows) -> Result<(), AnyError> {
    let mut request = json!({ "cluster": wanted.cluster });
    if let Some(target) = &wanted.target {
        request["target"] = json!(target);
    }
    let mut known = Known::default();
    let mut warned = BTreeSet::new();
    let mut is_headed = wanted.json;
    loop {
        let answer = client.landfall("DescribeFlows", &request).await?;
        for instance in items(&answer, "unreachable") {
            if warned.insert(text(&instance)) {
                let instance = text(&instance);
                progress(&format!("{instance} does not answer: its flows are not shown"));
            }
        }
        if answer["truncated"] == true && warned.insert(String::new()) {
            progress("there are more flows than these, the newest: name a task or an address");
        }
        let all = items(&answer, "flows");
        let all = all.filter(|flow| !wanted.rejected || flow["action"] == "REJECT");
        let news = known.news(all.collect());
        let mut out = io::stdout().lock();
        if !news.is_empty() && !is_headed {
            writeln!(out, "{}", line(&HEADING.map(str::to_owned), str::to_owned))?;
            is_headed = true;
        }
        for flow in &news {
            if wanted.json {
                writeln!(out, "{}", serde_json::to_string(flow)?)?;
            } else {
                let tone = if flow["action"] == "REJECT" { Tone::Bad } else { Tone::Good };
                writeln!(out, "{}", line(&row(flow), |action| paint(tone, action)))?;
            }
        }
        out.flush()?;
        drop(out);
        if !wanted.follow {
            return Ok(());
        }
        sleep(PERIOD).await;
    }
}

/// A line of the table, whose first cell is painted like this.
fn line(cells: &[String; 10], paint: impl FnOnce(&str) -> String) -> String {
    let cells = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:<width$}"));
    let mut cells: Vec<_> = cells.collect();
    if let Some(first) = cells.first_mut() {
        *first = paint(first);
    }
    cells.join("  ").trim_end().to_owned()
}

fn row(flow: &Value) -> [String; 10] {
    let number = |name: &str| flow[name].as_i64();
    let age = number("start").zip(number("end")).map(|(start, end)| end - start);
    [
        text(&flow["action"]),
        text(&flow["flowDirection"]),
        text(&flow["interfaceId"]),
        end(&flow["srcaddr"], &flow["srcport"]),
        end(&flow["dstaddr"], &flow["dstport"]),
        protocol(&flow["protocol"]),
        text(&flow["packets"]),
        text(&flow["bytes"]),
        age.map_or_else(|| "-".to_owned(), span),
        short(&flow["taskArn"]),
    ]
}

/// `10.0.0.5:80`, `[fd00::1]:80`; without a port if it is 0, as of ICMP.
fn end(address: &Value, port: &Value) -> String {
    let address = text(address);
    match port.as_u64() {
        None | Some(0) => address,
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
    }
}

fn protocol(number: &Value) -> String {
    match number.as_u64() {
        Some(1) => "icmp".to_owned(),
        Some(6) => "tcp".to_owned(),
        Some(17) => "udp".to_owned(),
        Some(58) => "icmp6".to_owned(),
        _ => text(number),
    }
}

/// `59s`, `3m`, `2h`, `5d`.
fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What was seen when one looked last: of each flow, how many packets it had.
#[derive(Debug, Default)]
struct Known(BTreeMap<String, Option<u64>>);

impl Known {
    /// Those of all flows that are new or have more packets than before.
    fn news(&mut self, all: Vec<Value>) -> Vec<Value> {
        let mut known = BTreeMap::new();
        let mut news = Vec::new();
        for flow in all {
            let name = ["interfaceId", "flowDirection", "action", "protocol", "start"].iter();
            let ends = ["srcaddr", "srcport", "dstaddr", "dstport"].iter();
            let name =
                name.chain(ends).map(|part| text(&flow[*part])).collect::<Vec<_>>().join(" ");
            let packets = flow["packets"].as_u64();
            let before = self.0.get(&name).copied();
            if before != Some(packets) {
                news.push(flow);
            }
            known.insert(name, packets);
        }
        self.0 = known;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16, packets: u64) -> Value {
        json!({
            "interfaceId": "eni-1", "taskArn": "arn:aws:ecs:r:1:task/default/0a", "vpcId": "vpc-1",
            "srcaddr": "10.0.0.5", "dstaddr": "fd00::1", "srcport": port, "dstport": 0,
            "protocol": 6, "packets": packets, "bytes": 60 * packets, "start": 100, "end": 190,
            "action": "REJECT", "flowDirection": "ingress",
        })
    }

    #[test]
    fn news_is_what_is_new_or_has_more() {
        let mut known = Known::default();
        let all = vec![flow(1, 1), flow(2, 1)];
        assert_eq!(known.news(all.clone()), all);
        assert_eq!(known.news(all), Vec::<Value>::new());
        assert_eq!(known.news(vec![flow(1, 2), flow(2, 1), flow(3, 1)]), [flow(1, 2), flow(3, 1)]);
        assert_eq!(known.news(vec![]), Vec::<Value>::new());
        assert_eq!(known.news(vec![flow(2, 1)]).len(), 1, "what went is forgotten");
    }

    #[test]
    fn a_row_reads_well() {
        let expected =
            ["REJECT", "ingress", "eni-1", "10.0.0.5:1", "fd00::1", "tcp", "2", "120", "1m", "0a"];
        assert_eq!(row(&flow(1, 2)), expected);
        assert_eq!(end(&json!("fd00::1"), &json!(80)), "[fd00::1]:80");
        assert_eq!([0, 59, 60, 3600, 86_400].map(span), ["0s", "59s", "1m", "1h", "1d"]);
    }
}
