//! `AttachNetworkInterface` and `DetachNetworkInterface`.

use super::{find, refuse};
use crate::attach;
use crate::error::Error;
use crate::records::Instance;
use chassis::Cx;
use ident::InstanceId;
use wire::ec2 as shapes;

/// Attaches an interface to an instance, on which it appears soon afterwards.
pub(in crate::api) async fn attach(
    cx: &Cx,
    request: shapes::AttachNetworkInterfaceRequest,
) -> Result<shapes::AttachNetworkInterfaceResult, Error> {
    refuse(&[
        ("enaQueueCount", request.ena_queue_count.is_some()),
        ("enaSrdSpecification", request.ena_srd_specification.is_some()),
    ])?;
    let text = request.instance_id.ok_or(Error::Missing("instanceId"))?;
    let instance: InstanceId =
        text.parse().map_err(|_| Error::MalformedInstanceId(text.clone()))?;
    let index = request.device_index.ok_or(Error::Missing("deviceIndex"))?;
    let index = u32::try_from(index).map_err(|_| {
        Error::Invalid(format!("Value ({index}) for parameter deviceIndex is invalid."))
    })?;
    if let Some(card) = request.network_card_index.filter(|card| *card != 0) {
        return Err(Error::Invalid(format!(
            "Value ({card}) for parameter networkCardIndex is invalid. The instance '{text}' has \
             one network card, with index 0."
        )));
    }
    let scope = cx.scope();

    let attachment = cx
        .store()
        .transact(|txn| {
            let eni = find(txn, scope, request.network_interface_id.as_deref())?;
            let host = txn
                .get::<Instance>(scope, instance.as_str())
                .ok_or_else(|| Error::NoInstance(text.clone()))?;
            let id = attach::attach(txn, &eni, &host, index, cx.now(), cx.bits())?;
            Ok::<_, Error>(id)
        })
        .await?;
    Ok(shapes::AttachNetworkInterfaceResult {
        attachment_id: Some(attachment.to_string()),
        network_card_index: Some(0),
    })
}

/// Detaches an interface from its instance, from which it disappears soon
/// afterwards.
pub(in crate::api) async fn detach(
    cx: &Cx,
    request: shapes::DetachNetworkInterfaceRequest,
) -> Result<shapes::DetachNetworkInterfaceResponse, Error> {
    let attachment = request.attachment_id.ok_or(Error::Missing("attachmentId"))?;
    let force = request.force == Some(true);
    cx.store()
        .transact(|txn| {
            let eni = attach::attached(txn, cx.scope(), &attachment)?;
            attach::detach(txn, &eni, force)?;
            Ok::<_, Error>(())
        })
        .await?;
    Ok(shapes::DetachNetworkInterfaceResponse {})
}
