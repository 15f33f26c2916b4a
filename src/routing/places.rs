//! Where a child has its practice, its home and its place of birth, each by itself: for lists that look beside the responsible hub.

use jiff::civil;

use super::{Area, Directory, Grounds};
use crate::canon::{Child, HubAssignment, HubBasis};
use crate::identity::Record;
use crate::names::HubName;

/// The hubs of a child's places; `OUT` for a place outside the area of all hubs, none for one that nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// By its practice, or its mother's in the first 28 days.
    pub gp: Option<HubName>,
    /// By its home, or its mother's in the first 28 days.
    pub home: Option<HubName>,
    /// By the site where it was born.
    pub birth_site: Option<HubName>,
}

impl Directory {
    /// The hubs of a child's places as of `today`, whatever the policy says of who is responsible.
    pub fn places(&self, child: &Child, today: civil::Date) -> Places {
        let grounds = Grounds::of(self, child, today);
        let area = |area: Area| match area {
            Area::Hub(hub) => self.name(hub),
            Area::Out => HubName::new(HubName::OUT),
        };
        Places {
            gp: grounds.gp.or(grounds.mothers_gp).map(area),
            home: grounds.home.or(grounds.mothers_home).map(area),
            birth_site: grounds.birth_site.map(|hub| self.name(hub)),
        }
    }

    /// True where a hub wants stillbirths on its births lists (identity rules, section 7).
    pub fn asks_for_stillbirths(&self, hub: &HubName) -> bool {
        self.hubs.iter().any(|known| known.name == *hub && known.stillbirths)
    }

    /// True where what a message says of home or practice would lead to another hub, and does not because something that was said
    /// later stands in the record (routing rules, section 5: a change by an older event is ignored). `said` is what the message says,
    /// `at_us` its event time, `route` what was decided.
    pub fn is_late_for(&self, said: &Child, record: &Record, route: &HubAssignment, at_us: i64) -> bool {
        let (group, area) = match route.basis {
            HubBasis::Gp => ("gp.practice_ods", said.gp.as_ref().and_then(|gp| self.by_practice(gp.practice_ods.as_deref()?))),
            HubBasis::Address => ("addresses.home", said.home().and_then(|home| self.by_home(home))),
            _ => return false,
        };
        let leads_elsewhere = area.is_some_and(|area| match area {
            Area::Hub(hub) => self.name(hub) != route.hub,
            Area::Out => route.hub.as_str() != HubName::OUT,
        });
        leads_elsewhere && record.said.get(group).is_some_and(|stands| at_us < stands.at_us)
    }
}
