//! Interfaces that users attach to instances and detach.
//!
//! An attachment comes into being here, and its instance's card makes it true, as
//! for a task's interface ([`crate::card`]). It ends when the card has said that
//! the interface is gone, and then the interface is free for another instance.

use crate::eni::recount;
use crate::eni_limits;
use crate::error::Error;
use crate::records::{AttachmentStatus, BY_ATTACHMENT, BY_INSTANCE, Eni, EniAttachment, Instance};
use ident::{EniAttachmentId, Scope, Timestamp};
use std::sync::Arc;
use store::Txn;

/// Attaches `eni` to `host` at `index`; its card is to make it.
///
/// They stand in one zone. Their VPCs may be two: a node has a router for each.
pub(crate) fn attach(
    txn: &mut Txn,
    eni: &Eni,
    host: &Instance,
    index: u32,
    now: Timestamp,
    random: u128,
) -> Result<EniAttachmentId, Error> {
    if eni.requester_managed {
        return Err(Error::Managed(eni.net.id.clone()));
    }
    if eni.attachment.is_some() {
        return Err(Error::AttachedAlready(eni.net.id.clone()));
    }
    if !host.zones.contains(&eni.zone) {
        let zone = eni.zone.name.clone();
        return Err(Error::NotInZone { instance: host.id.clone(), zone });
    }
    let present: Vec<Arc<Eni>> =
        txn.view().by::<Eni>(&host.scope, BY_INSTANCE, host.id.as_str()).collect();
    let at = |eni: &Eni| eni.attachment.as_ref().map(|attachment| attachment.device_index);
    if present.iter().any(|eni| at(eni) == Some(index)) {
        return Err(Error::DeviceTaken { instance: host.id.clone(), index });
    }
    let users = present.iter().filter(|eni| eni.is_users()).count();
    let tasks = present.iter().filter(|eni| eni.requester_managed).count();
    if !eni_limits::may_attach(host, users + 1, tasks) {
        let instance_type = host.instance_type.clone().unwrap_or_default();
        let count = 1 + usize::from(host.trunk.is_some()) + users + 1 + tasks;
        return Err(Error::TooManyEnis { count, instance_type });
    }
    if !eni_limits::may_have_addresses(Some(host), eni.net.ipv4_addresses().count()) {
        return Err(Error::TooManyAddresses);
    }
    let id = EniAttachmentId::mint(random);
    let attachment = EniAttachment {
        id: id.clone(),
        instance: host.id.clone(),
        device_index: index,
        status: AttachmentStatus::Attaching,
        attached_at: now,
        delete_on_termination: false,
        failure: None,
    };
    txn.put(Eni { attachment: Some(attachment), ..eni.clone() });
    recount(txn, &host.scope, &host.id);
    Ok(id)
}

/// The interface with this attachment.
pub(crate) fn attached(txn: &Txn, scope: &Scope, attachment: &str) -> Result<Arc<Eni>, Error> {
    txn.by::<Eni>(scope, BY_ATTACHMENT, attachment)
        .next()
        .ok_or_else(|| Error::NoAttachment(attachment.to_owned()))
}

/// Ends an attachment: its card is to take the interface away. It may be asked
/// for again.
///
/// By force, it is over at once. That is for an instance that does not answer any
/// more: should it still be there, its card keeps the interface until it hears of
/// this, whoever has it by then.
pub(crate) fn detach(txn: &mut Txn, eni: &Eni, force: bool) -> Result<(), Error> {
    if eni.requester_managed {
        return Err(Error::Managed(eni.net.id.clone()));
    }
    if eni.is_primary() {
        return Err(Error::PrimaryEni(eni.net.id.clone()));
    }
    let Some(attachment) = &eni.attachment else { return Ok(()) };
    let host = txn.get::<Instance>(&eni.scope, attachment.instance.as_str());
    if force || host.is_none() {
        txn.put(Eni { attachment: None, ..eni.clone() });
        recount(txn, &eni.scope, &attachment.instance);
    } else if attachment.status != AttachmentStatus::Detaching {
        let status = AttachmentStatus::Detaching;
        let attachment = Some(EniAttachment { status, failure: None, ..attachment.clone() });
        txn.put(Eni { attachment, ..eni.clone() });
    }
    Ok(())
}
