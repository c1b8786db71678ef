//! Programs at links, by `tc`: a `clsact` with one filter in each direction.
//!
//! They stay when we end, and go with their link. The newer `tcx` would let go of them by
//! itself, but has the kernel wait for every processor whenever a program comes or goes,
//! 8 to 20 ms in which nobody's links change. And it is missing before Linux 6.6.

use crate::error::CardError;
use crate::rtnl::{Rtnl, refused};
use bpf::Program;
use futures::StreamExt;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use std::os::fd::AsRawFd;

/// For packets of every protocol, in the network's byte order.
const EVERY_PROTOCOL: u16 = 3_u16.to_be();
const PRIORITY: u16 = 1;
const CLSACT: TcHandle = TcHandle { major: 0xffff, minor: 0 };
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: TcHandle::MIN_INGRESS };
const EGRESS: TcHandle = TcHandle { major: 0xffff, minor: TcHandle::MIN_EGRESS };

/// Has the programs be asked about every packet of a link that has none yet.
pub(super) async fn attach(
    rtnl: &Rtnl,
    index: u32,
    ingress: &Program,
    egress: &Program,
) -> Result<(), CardError> {
    let new = NLM_F_CREATE | NLM_F_EXCL;
    let qdisc = RouteNetlinkMessage::NewQueueDiscipline(clsact(index));
    request(rtnl, qdisc, new, "prepare a link for the fast path").await?;
    for (parent, program) in [(EGRESS, egress), (INGRESS, ingress)] {
        let mut message = TcMessage::with_index(index.cast_signed());
        message.header.parent = parent;
        message.header.handle = TcHandle { major: 0, minor: 1 };
        message.header.info = TcHandle { major: PRIORITY, minor: EVERY_PROTOCOL }.into();
        message.attributes = vec![
            TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
            TcAttribute::Options(
                [
                    TcFilterBpfOption::ProgFd(program.as_raw_fd().unsigned_abs()),
                    TcFilterBpfOption::ProgName("landfall".to_owned()),
                    TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
                ]
                .map(TcOption::Bpf)
                .to_vec(),
            ),
        ];
        let filter = RouteNetlinkMessage::NewTrafficFilter(message);
        request(rtnl, filter, new, "give a link the fast path").await?;
    }
    Ok(())
}

/// Takes all programs from a link, if it has any.
pub(super) async fn detach(rtnl: &Rtnl, index: u32) -> Result<(), CardError> {
    let qdisc = RouteNetlinkMessage::DelQueueDiscipline(clsact(index));
    match request(rtnl, qdisc, 0, "take a link off the fast path").await {
        // So the kernel says that there is none, depending on its version, or no such link,
        // or that it knows nothing of the kind.
        Err(CardError::Netlink { source: rtnetlink::Error::NetlinkError(error), .. })
            if [libc::ENOENT, libc::EINVAL, libc::ENODEV, libc::EOPNOTSUPP]
                .contains(&-error.raw_code()) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn clsact(index: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = CLSACT;
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    message
}

async fn request(
    rtnl: &Rtnl,
    message: RouteNetlinkMessage,
    flags: u16,
    action: &str,
) -> Result<(), CardError> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let failed = || refused(|| action.to_owned());
    let mut answers = rtnl.handle().request(message).map_err(failed())?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(failed()(rtnetlink::Error::NetlinkError(error)));
        }
    }
    Ok(())
}
