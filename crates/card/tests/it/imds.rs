//! The instance metadata, as tasks find it or do not.

use crate::lab::{Lab, PATIENCE, connect, is_refused, sh};
use crate::world::World;
use async_trait::async_trait;
use card::imds::{Facts, Interface, Metadata, Role, RoleCredentials};
use card::netns::Netns;
use ident::{AccountId, EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use net::mac::MacAddress;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Counts what it makes.
#[derive(Debug, Default)]
struct Mint {
    made: AtomicUsize,
    is_broken: bool,
}

#[async_trait]
impl Role for Mint {
    async fn credentials(&self) -> Result<RoleCredentials, String> {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_broken {
            return Err("secret reason".to_owned());
        }
        // The first are over before they could be used again.
        let good_for = Duration::from_mins(if number == 1 { 20 } else { 60 });
        Ok(RoleCredentials { document: format!("credentials {number}"), good_for })
    }
}

fn metadata(is_broken: bool) -> Arc<Metadata> {
    let block = |text: &str| text.parse().expect("a block");
    let facts = Facts {
        instance: InstanceId::mint(7),
        account: AccountId::first(),
        image: "ami-1".to_owned(),
        instance_type: None,
        region: "us-east-1".to_owned(),
        partition: "aws".to_owned(),
        zone: ("us-east-1a".to_owned(), "use1-az1".to_owned()),
        interface: Interface {
            eni: EniId::mint(2),
            mac: MacAddress([2, 0, 0, 0, 0, 9]),
            ipv4: Ipv4Addr::new(10, 0, 1, 4),
            host_name: "ip-10-0-1-4.ec2.internal".to_owned(),
            vpc: (VpcId::mint(3), vec![block("10.0.0.0/16")]),
            subnet: (SubnetId::mint(4), block("10.0.1.0/24")),
            groups: vec![(SecurityGroupId::mint(5), "default".to_owned())],
        },
        role: "ecsInstanceRole".to_owned(),
        profile: "arn".to_owned(),
        identity: ("{}".to_owned(), "c2ln".to_owned()),
    };
    let role = Mint { is_broken, ..Mint::default() };
    Arc::new(Metadata::new(&facts, Arc::new(role), &[9; 32]))
}

/// One request; the status and the body.
fn ask(netns: &Netns, at: &str, line: &str, headers: &str) -> (u16, String) {
    let at: IpAddr = at.parse().expect("an address");
    let mut stream = connect(netns, at, 80, PATIENCE).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let host = if at.is_ipv6() { format!("[{at}]") } else { at.to_string() };
    let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

#[test]
fn tasks_are_told_of_their_machine_only_where_that_is_wanted() {
    let mut lab = Lab::new();
    let mut world = World::dual_stack(1);
    let (eni, other) = (world.eni(1, 10, &[]), world.host_eni(1, 11, &[]));
    lab.apply(&world.plan(1));
    let task = lab.task(&eni).netns;
    let closed = |netns: &Netns| {
        ["169.254.169.254", "fd00:ec2::254"]
            .iter()
            .all(|at| is_refused(netns, at.parse::<IpAddr>().expect("an address"), 80))
    };
    assert!(closed(&task), "nobody is told unless somebody said so");

    let mut config = lab.config();
    config.task_metadata = Some(metadata(false));
    lab.card = card::Card::new(config);
    lab.apply(&world.plan(2));
    for at in ["169.254.169.254", "fd00:ec2::254"] {
        let id = "GET /latest/meta-data/instance-id";
        assert_eq!(ask(&task, at, id, "").0, 401);
        let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
        let put = "PUT /latest/api/token";
        assert_eq!(ask(&task, at, put, &format!("{ttl}X-Forwarded-For: 192.0.2.1\r\n")).0, 403);
        let (status, token) = ask(&task, at, put, ttl);
        assert_eq!(status, 200);
        let token = format!("X-aws-ec2-metadata-token: {token}\r\n");
        assert_eq!(ask(&task, at, id, &token), (200, InstanceId::mint(7).to_string()));
        let role = "GET /latest/meta-data/iam/security-credentials/ecsInstanceRole";
        let given = ask(&task, at, role, &token);
        assert_eq!(given.0, 200);
        assert_eq!(ask(&task, at, role, &token).1, "credentials 2", "they are good for a while");
        assert_eq!(ask(&task, at, "GET /latest/user-data", &token).0, 404);
    }
    assert_eq!(lab.apply(&world.plan(2)).changes(), 0);
    let kept = std::fs::read_to_string(lab.config().state_dir.join("card-plan.json"));
    assert!(!kept.expect("the plan").contains("metadata"), "the plan says nothing of it");
    assert!(other.services.is_empty());

    // And no more.
    lab.restart();
    lab.apply(&world.plan(3));
    assert!(closed(&task));
    assert_eq!(sh(&lab.router(), "ss -Hlnt"), "");
}

#[test]
fn why_there_are_no_credentials_is_nobodys_business() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let eni = world.eni(1, 10, &[]);
    let mut config = lab.config();
    config.task_metadata = Some(metadata(true));
    lab.card = card::Card::new(config);
    lab.apply(&world.plan(1));
    let (task, at) = (lab.task(&eni).netns, "169.254.169.254");
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let (_, token) = ask(&task, at, "PUT /latest/api/token", ttl);
    let token = format!("X-aws-ec2-metadata-token: {token}\r\n");
    let role = "GET /latest/meta-data/iam/security-credentials/ecsInstanceRole";
    assert_eq!(ask(&task, at, role, &token), (500, "Internal Server Error".to_owned()));
}
