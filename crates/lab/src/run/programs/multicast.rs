//! What programs that send by multicast have in common: one origin, and a rate that every host can
//! receive.
//!
//! The switches of a lab flood multicast frames to all ports, as an unmanaged switch does. So a
//! frame crosses the origin's link once and the link of every host once. A switch that snoops would
//! need a querier, because without one it forgets the members of a group after 260 s.

use super::{ProgramContext, ProgramError, TestHost};
use crate::network::Switches;

/// The only origin of a run.
///
/// # Errors
/// When there are several.
pub(super) fn only_origin<'a>(
    context: &'a ProgramContext<'_>,
    program: &str,
) -> Result<&'a TestHost, ProgramError> {
    match &*context.origins {
        [host] => Ok(host),
        _ => Err(ProgramError::Unusable {
            program: program.to_owned(),
            reason: "has one origin only".to_owned(),
        }),
    }
}

/// The rate in bits per second at which the slowest link between the origin and the receivers of a
/// run can be used.
///
/// # Errors
/// When one of the hosts is not in the network.
pub(super) fn slowest_rate(
    context: &ProgramContext<'_>,
    origin: &TestHost,
) -> Result<f64, ProgramError> {
    let topology = context.lab.topology();
    let number = |host: &TestHost| topology.host(&host.name);
    let near = number(origin)?;
    let mut slowest = topology.links[near - 1].up;
    for receiver in &context.receivers {
        let far = number(receiver)?;
        slowest = slowest.min(topology.links[far - 1].down);
        if let Switches::Two { trunk } = topology.switches
            && topology.switch_of(near) != topology.switch_of(far)
        {
            slowest = slowest.min(trunk);
        }
    }
    Ok(slowest as f64)
}
