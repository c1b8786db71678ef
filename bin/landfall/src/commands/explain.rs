//! `landfall explain`: why something is as it is.

use super::{AnyError, access, block_on};
use crate::cli::{Explain, ExplainPlacement, ExplainTask};
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

#[cfg(test)]
mod tests {
    use super::*;

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
