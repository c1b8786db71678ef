//! What becomes of the network when its account is deleted.

use crate::instances;
use crate::records::{Instance, VniLease, Vpc};
use async_trait::async_trait;
use chassis::{BoxError, Platform, Tenancy};
use ident::{AccountId, Timestamp};
use store::StoreError;

/// As many VPCs as one commit deletes, each with its lease.
const BATCH: usize = 32;

/// Ends what EC2 has of an account: its machines leave with all their interfaces,
/// whose cards see that in their next plan; then its VPCs go, and give back their
/// network identifiers in the same commit, so that nobody gets one that is used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evict;

#[async_trait]
impl Tenancy for Evict {
    fn name(&self) -> &'static str {
        "ec2"
    }

    async fn evict(
        &self,
        platform: &Platform,
        account: &AccountId,
        _since: Timestamp,
    ) -> Result<bool, BoxError> {
        let store = &platform.store;
        for machine in store.view().of_account::<Instance>(account) {
            let gone = |txn: &mut store::Txn| {
                Ok::<_, StoreError>(instances::deregister(txn, &machine.scope, &machine.id))
            };
            while !store.transact(gone).await? {}
        }
        let vpcs: Vec<_> = store.view().of_account::<Vpc>(account).collect();
        for batch in vpcs.chunks(BATCH) {
            store
                .transact(|txn| {
                    for vpc in batch {
                        let (all, vni) = (VniLease::scope_of_all(), vpc.net.vni.to_string());
                        let lease = txn.get::<VniLease>(&all, &vni);
                        if lease.is_some_and(|lease| lease.vpc == vpc.net.id) {
                            txn.delete::<VniLease>(&all, &vni);
                        }
                        txn.delete::<Vpc>(&vpc.scope, vpc.net.id.as_str());
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ensure_region;
    use crate::records::Eni;
    use crate::testing::{World, now};
    use ident::Scope;

    #[test]
    fn machines_and_network_identifiers_go_with_their_account() {
        let world = World::new();
        world.machine();
        let platform = &world.cx.platform;
        let here = world.cx.scope();
        let other = Scope { account: "000000000007".parse().expect("an id"), ..here.clone() };
        now(ensure_region(platform, &other)).expect("furnished");
        let before = world.view();
        assert_eq!(before.all::<VniLease>().count(), 2);

        assert!(now(Evict.evict(platform, &here.account, Timestamp(0))).expect("evicted"));
        let view = world.view();
        assert_eq!(view.of_account::<Instance>(&here.account).count(), 0);
        assert_eq!(view.of_account::<Eni>(&here.account).count(), 0);
        assert_eq!(view.of_account::<Vpc>(&other.account).count(), 1);
        let left: Vec<Scope> = view.all::<VniLease>().map(|lease| lease.owner.clone()).collect();
        assert_eq!(left, [other]);
    }
}
