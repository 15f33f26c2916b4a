//! Where a restricted child lives is for the responsible hub alone (identity rules, section 9): what another hub's store is told of it.
//!
//! A hub that the child leaves must see that it leaves, and must not see where to: the family may be hiding from somebody there.

use crate::canon::{Child, HubAssignment};
use crate::names::HubName;
use crate::outbox::FiledEvent;
use crate::routing::Directory;

/// The event as a store of `hub` gets it; none where it may have it as it was filed.
pub(in crate::store) fn for_hub(event: &FiledEvent, hub: &HubName, (route, directory): (&HubAssignment, &Directory)) -> Option<FiledEvent> {
    let is_restricted = event.record.flags.is_restricted() || event.statement.child.flags.is_restricted();
    if !is_restricted || directory.acting_hub(route).as_ref() == Some(hub) {
        return None;
    }
    let mut told = event.clone();
    without_location(&mut told.record);
    without_location(&mut told.statement.child);
    // Site and service of future appointments, and whoever visits, say where as well.
    told.statement.appointments.clear();
    told.statement.episodes.clear();
    told.statement.documents.clear();
    Some(told)
}

/// Address, telephone, practice, people, place of birth (identity rules, section 9).
fn without_location(child: &mut Child) {
    child.addresses.clear();
    child.telecoms.clear();
    child.relations.clear();
    child.gp_history.clear();
    child.gp = None;
    let birth = &mut child.birth;
    (birth.place_ods, birth.place_type, birth.place_text) = (None, None, None);
    (birth.registering_authority, birth.responsible_cho, birth.partner_cho) = (None, None, None);
}
