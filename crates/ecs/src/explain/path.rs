//! `ExplainPath`: what becomes of the first packet of a connection, asked of the same
//! judge that the cards are tested against.

use crate::records::Task;
use crate::{Error, names};
use chassis::Cx;
use ec2::card::plan_of;
use ec2::records::{Direction, Eni, Instance, SecurityGroup};
use ident::{ClusterName, Scope, VpcId};
use net::judge::{
    Content, Gate, Grounds, Obstacle, Packet, Permit, Verdict, is_tracked, judge, permits,
};
use net::model::{Peer, Traffic};
use net::plan::{EniPlan, VpcPlan};
use std::net::IpAddr;
use std::sync::Arc;
use store::View;
use wire::landfall::{ExplainPathRequest, ExplainPathResponse, PathEnd, PathRule, PathStep};

pub(super) fn explain(cx: &Cx, request: &ExplainPathRequest) -> Result<ExplainPathResponse, Error> {
    let (scope, view) = (cx.scope(), cx.view());
    let cluster = names::cluster(scope, request.cluster.as_deref())?;
    let asked = Asked { view: &view, scope, cluster: &cluster };
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let (from, to) = (text(&request.source), text(&request.destination));
    let (Some(source), _) = asked.end(&from, None)? else {
        return Err(Error::invalid(format!("No network interface has the address {from}.")));
    };
    let (known, address) = asked.end(&to, Some(&source.net.vpc))?;
    let content = content(request, address)?;
    let steps = match plan_of(&view, scope, &source.net.vpc) {
        Some(plan) => asked.steps(&plan, &source, known.as_deref(), address, content),
        None => vec![],
    };
    let own = IpAddr::V4(source.net.ipv4);
    Ok(ExplainPathResponse {
        passes: Some(!steps.is_empty() && steps.iter().all(|step| step.passes == Some(true))),
        source: Some(asked.show(Some(&source), own)),
        destination: Some(asked.show(known.as_deref(), address)),
        steps: Some(steps),
    })
}

/// What the packet carries.
fn content(request: &ExplainPathRequest, to: IpAddr) -> Result<Content, Error> {
    let port = || {
        let port = request.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        port.ok_or_else(|| Error::invalid("A port between 1 and 65535 must be provided."))
    };
    match request.protocol.as_deref().unwrap_or("tcp") {
        "tcp" => Ok(Content::Tcp { port: port()? }),
        "udp" => Ok(Content::Udp { port: port()? }),
        // Echo requests, which is what ping sends.
        "icmp" if to.is_ipv4() => Ok(Content::Icmp { kind: 8, code: 0 }),
        "icmp" | "icmpv6" => Ok(Content::Icmpv6 { kind: 128, code: 0 }),
        other => Err(Error::invalid(format!("protocol {other:?} is none of tcp, udp, icmp."))),
    }
}

/// Where an answer is looked for.
pub(super) struct Asked<'a> {
    pub(super) view: &'a View,
    pub(super) scope: &'a Scope,
    pub(super) cluster: &'a ClusterName,
}

impl Asked<'_> {
    /// The interface that somebody means, and its address; an address that nobody has
    /// is one without an interface. Of several interfaces with an address, the one in
    /// the VPC `near` is meant.
    pub(super) fn end(
        &self,
        text: &str,
        near: Option<&VpcId>,
    ) -> Result<(Option<Arc<Eni>>, IpAddr), Error> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let all = self.view.list::<Eni>(self.scope);
            let mut found: Vec<_> =
                all.filter(|eni| eni.net.addresses().any(|own| own == address)).collect();
            if found.len() > 1 && found.iter().any(|eni| Some(&eni.net.vpc) == near) {
                found.retain(|eni| Some(&eni.net.vpc) == near);
            }
            if found.len() > 1 {
                let ids: Vec<_> = found.iter().map(|eni| eni.net.id.to_string()).collect();
                return Err(Error::invalid(format!(
                    "Several network interfaces have the address {text}: name one of {}.",
                    ids.join(", ")
                )));
            }
            return Ok((found.pop(), address));
        }
        let missing = || Error::invalid(format!("{text:?} is no network interface here."));
        let eni = if text.starts_with("eni-") {
            self.view.get::<Eni>(self.scope, text).ok_or_else(missing)?
        } else if text.starts_with("i-") {
            let machine = self.view.get::<Instance>(self.scope, text).ok_or_else(missing)?;
            self.view.get::<Eni>(self.scope, machine.primary_eni.as_str()).ok_or_else(missing)?
        } else {
            self.of_task(text)?
        };
        let address = IpAddr::V4(eni.net.ipv4);
        Ok((Some(eni), address))
    }

    fn of_task(&self, text: &str) -> Result<Arc<Eni>, Error> {
        let id = names::task(self.scope, self.cluster, text)?;
        let found = self.view.get::<Task>(self.scope, id.as_str());
        let task = found.filter(|task| task.cluster == *self.cluster);
        let task = task.ok_or_else(|| Error::NoTask {
            cluster: self.cluster.clone(),
            task: text.to_owned(),
        })?;
        let interface = task.interface.as_ref();
        let eni = interface.and_then(|it| self.view.get::<Eni>(self.scope, it.eni.as_str()));
        eni.ok_or_else(|| Error::invalid(format!("The task {id} has no network interface.")))
    }

    fn show(&self, eni: Option<&Eni>, address: IpAddr) -> PathEnd {
        let of = |task: &Arc<Task>| {
            let own = task.interface.as_ref().map(|it| &it.eni);
            own.is_some() && own == eni.map(|eni| &eni.net.id)
        };
        let task = self.view.list::<Task>(self.scope).find(of);
        PathEnd {
            address: Some(address.to_string()),
            network_interface_id: eni.map(|eni| eni.net.id.to_string()),
            vpc_id: eni.map(|eni| eni.net.vpc.to_string()),
            task_arn: task.map(|task| task.arn().to_string()),
        }
    }

    /// What the packet meets, up to where it ends.
    fn steps(
        &self,
        plan: &VpcPlan,
        source: &Eni,
        known: Option<&Eni>,
        to: IpAddr,
        content: Content,
    ) -> Vec<PathStep> {
        let route = |passes, detail: String| step("ROUTE", passes, detail);
        let of = |id: &ident::EniId| plan.enis.iter().find(|eni| eni.eni == *id);
        let Some(sender) = of(&source.net.id) else {
            let detail = format!("{} is attached to no machine", source.net.id);
            return vec![route(false, detail)];
        };
        let Some(packet) = Packet::opening(sender, to, content) else {
            let detail = format!("{} has no address of that IP version", sender.eni);
            return vec![route(false, detail)];
        };
        let verdict = judge(plan, &packet);
        if let Verdict::Accept(Grounds::Service(service)) = &verdict {
            return vec![route(true, format!("{to} is the VPC's own service {service:?}"))];
        }
        let receiver = plan.enis.iter().find(|eni| eni.addresses().any(|own| own == to));
        let Some(receiver) = receiver.filter(|_| verdict != Verdict::Reject(Obstacle::NoRoute))
        else {
            let detail = match known {
                Some(eni) if eni.net.vpc != source.net.vpc => format!(
                    "{to} is {} in {}, and nothing connects that with {}",
                    eni.net.id, eni.net.vpc, source.net.vpc
                ),
                Some(eni) => format!("{} is attached to no machine", eni.net.id),
                None => format!("no network interface of {} has the address {to}", plan.vpc),
            };
            return vec![route(false, detail)];
        };
        let mut steps = vec![route(true, format!("{to} is {} in {}", receiver.eni, plan.vpc))];
        let gates = [("EGRESS", Gate::Egress, sender), ("INGRESS", Gate::Ingress, receiver)];
        for (name, gate, eni) in gates {
            let found: Vec<_> = permits(plan, eni, gate, &packet).collect();
            let mut step = self.gate(name, gate, eni, &found);
            if !found.is_empty() {
                step.tracked = Some(is_tracked(plan, eni, gate, &packet));
            }
            steps.push(step);
            if found.is_empty() {
                break;
            }
        }
        steps
    }

    fn gate(&self, name: &str, gate: Gate, eni: &EniPlan, found: &[Permit<'_>]) -> PathStep {
        let groups: Vec<_> = eni.groups.iter().map(ToString::to_string).collect();
        let way = match gate {
            Gate::Egress => "out of",
            Gate::Ingress => "into",
        };
        let detail = if found.is_empty() {
            format!("no rule of {} lets it {way} {}", groups.join(", "), eni.eni)
        } else {
            format!("{} let it {way} {}", counted(found.len()), eni.eni)
        };
        let rules = found.iter().map(|permit| self.rule(gate, permit)).collect();
        PathStep {
            security_groups: Some(groups),
            rules: Some(rules),
            ..step(name, !found.is_empty(), detail)
        }
    }

    fn rule(&self, gate: Gate, permit: &Permit<'_>) -> PathRule {
        let group = self.view.get::<SecurityGroup>(self.scope, permit.group.as_str());
        let direction = match gate {
            Gate::Egress => Direction::Egress,
            Gate::Ingress => Direction::Ingress,
        };
        let record = group.as_ref().and_then(|group| {
            let mut rules = group.rules.iter();
            rules.find(|rule| rule.direction == direction && rule.rule == *permit.rule)
        });
        PathRule {
            group_id: Some(permit.group.to_string()),
            security_group_rule_id: record.map(|rule| rule.id.to_string()),
            traffic: Some(traffic(permit.rule.traffic)),
            peer: Some(match &permit.rule.peer {
                Peer::Cidr(block) => block.to_string(),
                Peer::Group(group) => group.to_string(),
                Peer::PrefixList(list) => list.to_string(),
            }),
            description: record.and_then(|rule| rule.description.clone()),
        }
    }
}

fn step(name: &str, passes: bool, detail: String) -> PathStep {
    PathStep {
        step: Some(name.to_owned()),
        passes: Some(passes),
        detail: Some(detail),
        ..PathStep::default()
    }
}

fn counted(rules: usize) -> String {
    if rules == 1 { "one rule".to_owned() } else { format!("{rules} rules") }
}

/// `tcp 80-89`, `icmp 8`, `all`.
fn traffic(traffic: Traffic) -> String {
    let ports =
        |from: u16, to: u16| if from == to { format!("{from}") } else { format!("{from}-{to}") };
    let part = |part: Option<u8>| part.map(|part| format!(" {part}")).unwrap_or_default();
    match traffic {
        Traffic::All => "all".to_owned(),
        Traffic::Tcp { from, to } => format!("tcp {}", ports(from, to)),
        Traffic::Udp { from, to } => format!("udp {}", ports(from, to)),
        Traffic::Icmp { kind, code } => format!("icmp{}{}", part(kind), part(code)),
        Traffic::Icmpv6 { kind, code } => format!("icmpv6{}{}", part(kind), part(code)),
        Traffic::Protocol(number) => format!("protocol {number}"),
    }
}
