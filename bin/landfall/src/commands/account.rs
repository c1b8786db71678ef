//! `landfall account`: an AWS of one's own for whoever needs one.

use super::env::{exports, variables};
use super::{AnyError, access, block_on};
use crate::cli::{Account, CreateAccount, DeleteAccount, Output};
use crate::client::Client;
use crate::layout::{Access, Layout};
use crate::terminal::{progress, table};
use serde_json::{Value, json};
use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

/// How often a deletion is asked about.
const LOOK: Duration = Duration::from_millis(50);
/// How many looks pass before it is said again what is awaited.
const PATIENCE: u32 = 40;

/// Does what was asked.
pub(crate) fn run(layout: &Layout, account: &Account) -> Result<(), AnyError> {
    let access = access(layout)?;
    let client = Client::new(&access)?;
    match account {
        Account::Create(create) => block_on(self::create(&client, access, create)),
        Account::List(output) => block_on(list(&client, output)),
        Account::Delete(delete) => block_on(self::delete(&client, delete)),
    }
}

/// Prints the new account as JSON, or as what `eval` makes a shell act in it.
async fn create(client: &Client, access: Access, wanted: &CreateAccount) -> Result<(), AnyError> {
    let request = wanted.name.as_ref().map_or_else(|| json!({}), |name| json!({ "name": name }));
    let made = client.landfall("CreateAccount", &request).await?;
    if wanted.json {
        println!("{}", serde_json::to_string_pretty(&made)?);
        return Ok(());
    }
    let said = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    let id = made["account"]["accountId"].as_str().unwrap_or_default();
    println!("# Account {id}. This is the only time that its secret is shown.");
    let (key_id, secret) = (said("accessKeyId"), said("secretAccessKey"));
    print!("{}", exports(variables(&Access { key_id, secret, ..access })));
    Ok(())
}

async fn list(client: &Client, output: &Output) -> Result<(), AnyError> {
    let accounts = client.accounts().await?;
    if output.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "accounts": accounts }))?);
        return Ok(());
    }
    let row = |account: &Value| {
        ["accountId", "name", "status"]
            .map(|member| account[member].as_str().unwrap_or("-").to_owned())
            .to_vec()
    };
    let rows: Vec<_> = accounts.iter().map(row).collect();
    print!("{}", table(&["ACCOUNT", "NAME", "STATUS"], &rows));
    Ok(())
}

/// Returns once nothing of the account is left.
async fn delete(client: &Client, wanted: &DeleteAccount) -> Result<(), AnyError> {
    let id = &wanted.account;
    if !wanted.yes && !confirmed(id)? {
        return Err("nothing was deleted".into());
    }
    client.landfall("DeleteAccount", &json!({ "accountId": id })).await?;
    let mut looks = 0_u32;
    loop {
        let accounts = client.accounts().await?;
        let Some(left) = accounts.iter().find(|account| account["accountId"] == **id) else {
            progress(&format!("account {id} is gone"));
            return Ok(());
        };
        if looks.is_multiple_of(PATIENCE) {
            progress(&format!("deleting account {id}: {} records left", left["records"]));
        }
        looks += 1;
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks a person, if there is one.
fn confirmed(id: &str) -> Result<bool, AnyError> {
    if !std::io::stdin().is_terminal() {
        return Err("this deletes everything in the account: say --yes".into());
    }
    progress(&format!("This deletes everything in account {id}. Type its id to go on:"));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == id)
}
