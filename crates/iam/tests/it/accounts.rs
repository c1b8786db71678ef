//! Accounts come, are refused, and go to the last record.

use crate::{account, now, platform, scope};
use async_trait::async_trait;
use chassis::{Authenticator as _, BoxError, Caller, Controller as _, Cx, Platform, Principal};
use chassis::{Tenancy, idempotency};
use iam::{Closer, Iam, accounts, bootstrap, closing, node_key};
use ident::{AccountId, InstanceId, Scope, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::StoreError;
use wire::landfall::{CreateAccountRequest, DeleteAccountRequest, ListAccountsRequest};

struct World {
    platform: Platform,
    iam: Iam,
}

impl World {
    fn new() -> Self {
        let platform = platform();
        now(bootstrap(&platform, &AccountId::first())).expect("made");
        Self { iam: Iam::new(platform.store.clone()), platform }
    }

    fn cx(&self, account: &AccountId, principal: Principal) -> Cx {
        let scope = Scope { account: account.clone(), ..scope() };
        let caller = Caller { scope, principal, access_key: "AKIAX".to_owned() };
        Cx { platform: self.platform.clone(), caller, request_id: "r".to_owned() }
    }

    fn owner(&self) -> Cx {
        self.cx(&AccountId::first(), Principal::Root)
    }

    /// The id and the key id of a new account.
    fn create(&self) -> (AccountId, String) {
        let made = now(accounts::create(&self.owner(), CreateAccountRequest::default()));
        let made = made.expect("made");
        let id = made.account.expect("shown").account_id.expect("an id");
        (account(&id), made.access_key_id.expect("a key"))
    }

    fn delete(&self, id: &AccountId) -> Result<(), accounts::Error> {
        let request = DeleteAccountRequest { account_id: Some(id.to_string()) };
        now(accounts::delete(&self.owner(), request)).map(drop)
    }

    fn listed(&self) -> Vec<String> {
        let listed = accounts::list(&self.owner(), &ListAccountsRequest::default());
        let accounts = listed.expect("listed").accounts.expect("accounts");
        accounts.into_iter().filter_map(|account| account.account_id).collect()
    }

    /// Puts something into the account, in some region.
    fn remember(&self, id: &AccountId, region: &str, token: &str) {
        let scope = Scope { account: id.clone(), region: region.parse().expect("a region") };
        let key = idempotency::Key { scope: &scope, operation: "RunTask", token };
        let digest = idempotency::digest(&token).expect("serializes");
        let put = self.platform.store.transact(|txn| {
            idempotency::remember(txn, &key, digest.clone(), "done", Timestamp(0));
            Ok::<_, StoreError>(())
        });
        now(put).expect("put");
    }

    fn node_may(&self, id: &AccountId, operation: &str) -> bool {
        let caller = self.cx(id, Principal::Instance(InstanceId::mint(1))).caller;
        self.iam.allows(&caller, "ecs", operation)
    }

    fn left(&self, id: &AccountId) -> usize {
        self.platform.store.view().keys_of(id).count()
    }
}

/// A service that is done when it is told to be.
struct Busy(Arc<AtomicBool>);

#[async_trait]
impl Tenancy for Busy {
    fn name(&self) -> &'static str {
        "busy"
    }

    async fn evict(&self, _: &Platform, _: &AccountId, _: Timestamp) -> Result<bool, BoxError> {
        Ok(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn each_account_is_new() {
    let world = World::new();
    let ids: BTreeSet<AccountId> = (0..40).map(|_| world.create().0).collect();
    assert_eq!(ids.len(), 40);
    assert_eq!(world.listed().len(), 41);
}

#[test]
fn only_the_owner_of_the_installation_manages_accounts() {
    let world = World::new();
    let (id, _) = world.create();
    for cx in [
        world.cx(&id, Principal::Root),
        world.cx(&AccountId::first(), Principal::Instance(InstanceId::mint(1))),
    ] {
        let refused = now(accounts::create(&cx, CreateAccountRequest::default()));
        let fault = refused.expect_err("refused").fault();
        assert_eq!(fault.code, "AccessDeniedException");
        assert!(accounts::list(&cx, &ListAccountsRequest::default()).is_err());
        let request = DeleteAccountRequest { account_id: Some(id.to_string()) };
        assert!(now(accounts::delete(&cx, request)).is_err());
    }
    let first = world.delete(&AccountId::first()).expect_err("refused").fault();
    assert_eq!(first.code, "ConflictException");
    let unknown = world.delete(&account("999999999999")).expect_err("refused").fault();
    assert_eq!(unknown.code, "ResourceNotFoundException");
}

#[test]
fn a_deleted_account_is_gone_to_the_last_record() {
    let world = World::new();
    let (id, key) = world.create();
    let (other, others_key) = world.create();
    for number in 0..300 {
        let region = ["us-east-1", "eu-west-1"][number % 2];
        world.remember(&id, region, &number.to_string());
    }
    world.remember(&other, "us-east-1", "kept");
    let here = Scope { account: id.clone(), ..scope() };
    let node = now(node_key(&world.platform, &here, &InstanceId::mint(1))).expect("made");
    let done = Arc::new(AtomicBool::new(false));
    let closer = Closer::new(vec![Box::new(Busy(Arc::clone(&done)))]);

    assert!(world.iam.key(&key).is_some());
    world.delete(&id).expect("deleted");
    assert!(world.iam.key(&key).is_none(), "from that moment on");
    assert!(world.iam.key(&node.access_key_id).is_some(), "its machines have work to do");
    assert!(world.node_may(&id, "SubmitTaskStateChange") && world.node_may(&id, "Poll"));
    assert!(!world.node_may(&id, "RegisterContainerInstance"), "and none to begin");
    assert!(!world.node_may(&id, "CreateCluster"));
    assert!(world.node_may(&other, "RegisterContainerInstance"));
    world.delete(&id).expect("asked again");
    now(closer.reconcile(&world.platform)).expect("reconciled");
    assert_eq!(world.left(&id), 300, "somebody is not done");
    assert!(world.listed().contains(&id.to_string()));

    done.store(true, Ordering::SeqCst);
    now(closer.reconcile(&world.platform)).expect("reconciled");
    assert_eq!(world.left(&id), 0);
    assert!(!world.listed().contains(&id.to_string()));
    assert!(world.iam.key(&node.access_key_id).is_none());
    assert!(matches!(world.delete(&id), Err(accounts::Error::NoAccount(_))));
    assert_eq!(world.left(&other), 1);
    assert!(world.iam.key(&others_key).is_some());

    // What was let in before may still write.
    world.remember(&id, "us-east-1", "late");
    now(closer.reconcile(&world.platform)).expect("reconciled");
    assert_eq!(world.left(&id), 0);
    let revision = world.platform.store.view().revision();
    now(closer.reconcile(&world.platform)).expect("reconciled");
    assert_eq!(world.platform.store.view().revision(), revision, "nothing to do writes nothing");
}

#[test]
fn an_emptied_account_is_forgotten_and_its_id_not_given_again() {
    let world = World::new();
    let closer = Closer::new(vec![]);
    let (id, _) = world.create();
    world.delete(&id).expect("deleted");
    now(closer.reconcile(&world.platform)).expect("reconciled");
    let there = || world.platform.store.view().all::<iam::records::Account>().count();
    assert_eq!(there(), 2);
    let later = Platform {
        clock: Arc::new(chassis::fake::ManualClock::at(
            world.platform.now().after(closing::AFTERMATH),
        )),
        ..world.platform.clone()
    };
    now(closer.reconcile(&later)).expect("reconciled");
    assert_eq!(there(), 1);
    assert_ne!(world.create().0, id);
}
