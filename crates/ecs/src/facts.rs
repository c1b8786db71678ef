//! A container instance as the cluster query language asks about it.

use crate::records::ContainerInstance;
use crate::view::tenants;
use ident::Timestamp;
use sched::lifecycle::Phase;
use sched::query::Facts;
use store::View;

/// A container instance as of a view. Its tasks are looked at only if an expression
/// asks about them, which few do.
pub(crate) struct FactsOf<'v> {
    pub(crate) view: &'v View,
    pub(crate) instance: &'v ContainerInstance,
}

impl Facts for FactsOf<'_> {
    fn agent_connected(&self) -> bool {
        self.instance.connected()
    }

    fn agent_version(&self) -> Option<&str> {
        self.instance.version_info.agent_version.as_deref()
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        Some(self.instance.attributes.get(name)?.as_deref().unwrap_or_default())
    }

    fn ec2_instance(&self) -> Option<&str> {
        self.instance.ec2_instance.as_ref().map(AsRef::as_ref)
    }

    fn registered_at(&self) -> Timestamp {
        self.instance.registered_at
    }

    fn running_tasks(&self) -> u32 {
        let running = tenants(self.view, self.instance).filter(|it| it.phase == Phase::Running);
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }

    fn any_group(&self, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
        tenants(self.view, self.instance).any(|task| wanted(&task.group))
    }
}
