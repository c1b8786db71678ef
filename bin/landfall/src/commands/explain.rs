//! `landfall explain`: why something is as it is.

use super::{AnyError, access, block_on};
use crate::cli::{Explain, ExplainPath, ExplainPlacement, ExplainTask};
use crate::client::{Client, items};
use crate::layout::Layout;
use crate::terminal::{Tone, paint, short, table, text};
use serde_json::{Map, Value, json};

/// Does what was asked.
pub(crate) fn run(layout: &Layout, what: &Explain) -> Result<(), AnyError> {
    let client = Client::new(&access(layout)?)?;
    match what {
        Explain::Placement(wanted) => block_on(placement(&client, wanted)),
        Explain::Task(wanted) => block_on(task(&client, wanted)),
        Explain::Path(wanted) => block_on(path(&client, wanted)),
    }
}

async fn placement(client: &Client, wanted: &ExplainPlacement) -> Result<(), AnyError> {
    let answer = client.landfall("ExplainPlacement", &request(wanted)).await?;
    if wanted.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    let places: Vec<_> = items(&answer, "places").collect();
    let all = usize::try_from(wanted.count).is_ok_and(|count| count == places.len());
    let tone = if all { Tone::Good } else { Tone::Bad };
    println!(
        "{}",
        paint(tone, &format!("{} of {} tasks have a place", places.len(), wanted.count))
    );
    let place = |place: &Value| {
        vec![short(&place["containerInstanceArn"]), text(&place["availabilityZone"])]
    };
    let rows: Vec<_> = places.iter().map(place).collect();
    print!("{}", table(&["INSTANCE", "ZONE"], &rows));
    println!("\nWhether each instance takes {}:", if all { "a task now" } else { "the next" });
    let rows: Vec<_> = items(&answer, "instances").map(|instance| verdict(&instance)).collect();
    print!("{}", table(&["INSTANCE", "EC2", "TAKES IT", "WHY NOT"], &rows));
    Ok(())
}

fn verdict(instance: &Value) -> Vec<String> {
    let fits = instance["fits"] == true;
    let why =
        |refusal: &Value| format!("{} ({})", text(&refusal["detail"]), text(&refusal["code"]));
    let reasons: Vec<_> = items(instance, "refusals").map(|refusal| why(&refusal)).collect();
    vec![
        short(&instance["containerInstanceArn"]),
        text(&instance["ec2InstanceId"]),
        if fits { "yes".to_owned() } else { "no".to_owned() },
        reasons.join("; "),
    ]
}

/// The request, in which what was not given is left out.
fn request(wanted: &ExplainPlacement) -> Value {
    let mut request = json!({
        "taskDefinition": wanted.definition,
        "cluster": wanted.cluster,
        "count": wanted.count,
        "placementConstraints": pairs(&wanted.constraints, "expression"),
        "placementStrategy": pairs(&wanted.strategies, "field"),
    });
    if let Some(group) = &wanted.group {
        request["group"] = json!(group);
    }
    if let Some(launch_type) = &wanted.launch_type {
        request["launchType"] = json!(launch_type);
    }
    if !wanted.subnets.is_empty() {
        request["subnets"] = json!(wanted.subnets);
        request["securityGroups"] = json!(wanted.groups);
    }
    request
}

/// `TYPE=REST` as the API has it.
fn pairs(words: &[String], rest: &str) -> Vec<Value> {
    let pair = |word: &String| {
        let mut pair = Map::new();
        match word.split_once('=') {
            Some((kind, value)) => {
                pair.insert("type".to_owned(), json!(kind));
                pair.insert(rest.to_owned(), json!(value));
            }
            None => _ = pair.insert("type".to_owned(), json!(word)),
        }
        Value::Object(pair)
    };
    words.iter().map(pair).collect()
}

async fn task(client: &Client, wanted: &ExplainTask) -> Result<(), AnyError> {
    let request = json!({ "task": wanted.task, "cluster": wanted.cluster });
    let answer = client.landfall("ExplainTask", &request).await?;
    if wanted.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    let (is, wish) = (text(&answer["lastStatus"]), text(&answer["desiredStatus"]));
    println!("task {} is {is} and wanted {wish}", short(&answer["taskArn"]));
    if let Some(reason) = answer["stoppedReason"].as_str() {
        println!(
            "{}",
            paint(Tone::Bad, &format!("it stopped: {reason} ({})", text(&answer["stopCode"])))
        );
    }
    let waits: Vec<_> = items(&answer, "waitsFor").collect();
    if waits.is_empty() {
        println!("it waits for nothing");
    }
    for wait in &waits {
        println!("{}", paint(Tone::Poor, &format!("it waits: {}", text(&wait["detail"]))));
    }
    println!();
    let history: Vec<_> = items(&answer, "history").collect();
    let began = history.first().and_then(|first| first["at"].as_f64()).unwrap_or_default();
    let moment = |moment: &Value| {
        let after = moment["at"].as_f64().unwrap_or(began) - began;
        vec![format!("+{after:.3} s"), text(&moment["status"])]
    };
    let rows: Vec<_> = history.iter().map(moment).collect();
    print!("{}", table(&["WHEN", "WHAT"], &rows));
    Ok(())
}

async fn path(client: &Client, wanted: &ExplainPath) -> Result<(), AnyError> {
    let (destination, port) = split_port(&wanted.destination);
    let mut request = json!({
        "source": wanted.source,
        "destination": destination,
        "protocol": wanted.protocol,
        "cluster": wanted.cluster,
    });
    if let Some(port) = port {
        request["port"] = json!(port);
    }
    let answer = client.landfall("ExplainPath", &request).await?;
    if wanted.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    let end = |end: &Value| {
        let known = ["networkInterfaceId", "taskArn"].map(|name| short(&end[name]));
        let known: Vec<_> = known.into_iter().filter(|word| !word.is_empty()).collect();
        let address = text(&end["address"]);
        if known.is_empty() { address } else { format!("{address} ({})", known.join(", ")) }
    };
    println!("from {}\n  to {}", end(&answer["source"]), end(&answer["destination"]));
    let tone = |passes: bool| if passes { Tone::Good } else { Tone::Bad };
    for step in items(&answer, "steps") {
        let passes = step["passes"] == true;
        let mark = if passes { "passes" } else { "stops" };
        let name = text(&step["step"]).to_lowercase();
        println!("{name:>8} {}: {}", paint(tone(passes), mark), text(&step["detail"]));
        for rule in items(&step, "rules") {
            let words = ["groupId", "securityGroupRuleId", "traffic", "peer", "description"];
            let words: Vec<_> = words.iter().map(|word| text(&rule[*word])).collect();
            println!("{:>10}{}", "", words.join("  ").trim_end());
        }
        if step["tracked"] == false {
            println!("{:>10}not tracked: it ends when these rules are revoked", "");
        }
    }
    let passes = answer["passes"] == true;
    let verdict = if passes { "it comes about" } else { "it does not come about" };
    println!("{}", paint(tone(passes), verdict));
    Ok(())
}

/// `10.0.0.5:80`, `[fd00::1]:80`, `TASK:80`; the colons of an ARN and of a bare IPv6
/// address are their own.
fn split_port(text: &str) -> (&str, Option<u16>) {
    let split = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let split = split.filter(|_| text.parse::<std::net::Ipv6Addr>().is_err());
    let (host, port) = split.map_or((text, None), |(host, port)| (host, Some(port)));
    (host.trim_matches(['[', ']']), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_may_end_a_destination() {
        for (text, expected) in [
            ("10.0.0.5:80", ("10.0.0.5", Some(80))),
            ("10.0.0.5", ("10.0.0.5", None)),
            ("[fd00::1]:80", ("fd00::1", Some(80))),
            ("fd00::1", ("fd00::1", None)),
            ("eni-1:443", ("eni-1", Some(443))),
            ("arn:aws:ecs:us-east-1:1:task/c/0a", ("arn:aws:ecs:us-east-1:1:task/c/0a", None)),
            (
                "arn:aws:ecs:us-east-1:1:task/c/0a:8080",
                ("arn:aws:ecs:us-east-1:1:task/c/0a", Some(8080)),
            ),
        ] {
            assert_eq!(split_port(text), expected, "{text}");
        }
    }

    #[test]
    fn constraints_and_strategies_are_what_the_api_takes() {
        let words = ["distinctInstance".to_owned(), "memberOf=attribute:a == b".to_owned()];
        assert_eq!(
            json!(pairs(&words, "expression")),
            json!([
                { "type": "distinctInstance" },
                { "type": "memberOf", "expression": "attribute:a == b" },
            ])
        );
    }
}
