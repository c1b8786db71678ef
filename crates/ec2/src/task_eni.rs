//! The interfaces of tasks: what ECS asks of EC2.
//!
//! The functions run inside ECS's own transactions, so that a task and its
//! interface come into being, and pass away, in one commit. Between them the
//! card does its work and reports ([`crate::card`]); ECS sees how far it is by
//! asking for the [`state`].

use crate::awsvpc::Awsvpc;
use crate::eni::{Draft, Purpose, create};
use crate::error::Error;
use crate::records::{AttachmentStatus, Eni, Instance};
use ident::{Arn, EniId, InstanceId, Scope, SubnetId, Tags, Timestamp};
use store::{Txn, View};

/// An interface that ECS wants for a task.
pub struct Provision<'a> {
    /// Whose the task is, and where.
    pub scope: &'a Scope,
    /// What the task's `awsvpcConfiguration` means.
    pub awsvpc: &'a Awsvpc,
    /// The one of its subnets that was chosen.
    pub subnet: &'a SubnetId,
    /// Where the task will run; it stands in the subnet's zone.
    pub instance: &'a InstanceId,
    /// ECS's own name for the attachment.
    pub attachment_arn: &'a Arn,
    /// The present moment.
    pub now: Timestamp,
    /// Where ids come from.
    pub bits: &'a mut dyn FnMut() -> u128,
}

/// How far a task's interface is. It moves down this list and never up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEni {
    /// The card is to make it.
    Attaching,
    /// It is in place: the agent finds it by its hardware address.
    Attached,
    /// It could not be made, for this reason. It stays so until it is released.
    Failed(String),
    /// It was released, and the card has not yet said that it took it away.
    Detaching,
    /// There is no such interface, any more.
    Gone,
}

/// Makes an interface for a task, with an address, and tells the instance's card
/// to attach it. It is requester-managed: only [`release`] takes it away.
pub fn provision(txn: &mut Txn, request: Provision<'_>) -> Result<Eni, Error> {
    let Provision { scope, awsvpc, subnet, instance, attachment_arn, now, bits } = request;
    let host = txn
        .get::<Instance>(scope, instance.as_str())
        .ok_or_else(|| Error::NoInstance(instance.to_string()))?;
    let place = awsvpc
        .subnets
        .iter()
        .find(|candidate| candidate.net.id == *subnet)
        .ok_or_else(|| Error::NoSubnet(subnet.to_string()))?;
    if !host.zones.contains(&place.zone) {
        let (instance, zone) = (instance.clone(), place.zone.name.clone());
        return Err(Error::NotInZone { instance, zone });
    }
    let draft = Draft {
        scope,
        subnet,
        address: None,
        secondary: Vec::new(),
        groups: awsvpc.groups.clone(),
        purpose: Purpose::Task(instance),
        description: attachment_arn.to_string(),
        tags: Tags::default(),
        now,
    };
    create(txn, draft, bits)
}

/// Gives a task's interface back.
///
/// Its record, and with it the address, stays until the card has said that the
/// interface is gone: until then packets may still come from it. With the
/// instance gone there is no one to say so, and the record goes at once. What is
/// gone already is no error.
pub fn release(txn: &mut Txn, scope: &Scope, eni: &EniId) -> Result<(), Error> {
    let Some(found) = txn.get::<Eni>(scope, eni.as_str()) else { return Ok(()) };
    if !found.requester_managed {
        return Err(Error::NotATasks(eni.clone()));
    }
    let host = found.instance().and_then(|id| txn.get::<Instance>(scope, id.as_str()));
    if host.is_none() {
        txn.delete::<Eni>(scope, eni.as_str());
    } else if found.attachment_status() != Some(AttachmentStatus::Detaching) {
        let mut leaving = Eni::clone(&found);
        if let Some(attachment) = &mut leaving.attachment {
            attachment.status = AttachmentStatus::Detaching;
        }
        txn.put(leaving);
    }
    Ok(())
}

/// How far the interface is. Inside a transaction, ask with [`Txn::view`].
pub fn state(view: &View, scope: &Scope, eni: &EniId) -> TaskEni {
    match view.get::<Eni>(scope, eni.as_str()).and_then(|eni| eni.attachment.clone()) {
        None => TaskEni::Gone,
        Some(attachment) => match (attachment.status, attachment.failure) {
            (AttachmentStatus::Attaching, None) => TaskEni::Attaching,
            (AttachmentStatus::Attaching, Some(reason)) => TaskEni::Failed(reason),
            (AttachmentStatus::Attached, _) => TaskEni::Attached,
            (AttachmentStatus::Detaching, _) => TaskEni::Detaching,
        },
    }
}
