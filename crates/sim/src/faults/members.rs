//! Faults after which the cluster has other members.

use std::time::Duration;

use quorate_types::ReplicaId;

use super::{Fault, Faults, Heal};
use crate::replica::{Fate, Replica};
use crate::world::World;

/// How long somebody takes to look at a replica whose disk may be damaged.
const INSPECTED_MIN: Duration = Duration::from_secs(5);
const INSPECTED_MAX: Duration = Duration::from_secs(40);

impl Faults {
    pub(super) fn change_members(&mut self, world: &mut World, fault: Fault) -> Option<()> {
        let id = match fault {
            Fault::Grow if world.at_risk() == 0 && !world.has_grown() => {
                world.grow();
                return Some(());
            }
            Fault::Replace if world.at_risk() < world.spare() => self.any(world)?,
            // It may be down or cut off: then it learns later that it has no place any more.
            Fault::Shrink if world.at_risk() == 0 && world.has_grown() => self.any(world)?,
            _ => return None,
        };
        world.trace.line(format_args!("{fault}: replica {id}"));
        match fault {
            Fault::Replace => world.replace(id),
            _ => world.shrink(id),
        }
        Some(())
    }

    /// Any replica that is to stay, whatever else happens to it.
    fn any(&mut self, world: &World) -> Option<ReplicaId> {
        let staying = |replica: &&Replica| replica.fate == Fate::Stays && !replica.disk.is_damaged();
        let ids: Vec<ReplicaId> = world.replicas.values().filter(staying).map(|replica| replica.id).collect();
        self.chance.pick(&ids).copied()
    }

    /// Bits change where nobody looks: the replica refuses to go on, or it never notices; then it is replaced
    /// before others may be lost.
    pub(super) fn flip_bit(&mut self, world: &mut World) -> Option<()> {
        if world.at_risk() >= world.spare() {
            return None;
        }
        let id = self.any(world)?;
        self.cut_power(world, id);
        let mut chance = self.chance.clone();
        let flipped = world.replica(id).disk.flip_bit(&mut chance);
        self.chance = chance;
        world.trace.line(format_args!("{}: replica {id}, {}", Fault::BitFlip, flipped?));
        self.made += 1;
        let at = world.now + self.chance.between(INSPECTED_MIN, INSPECTED_MAX);
        self.heals.insert((at, self.made), Heal::Inspect(id));
        Some(())
    }

    pub(super) fn inspect(world: &mut World, id: ReplicaId) {
        let damaged = |replica: &Replica| replica.fate == Fate::Stays && replica.disk.is_damaged();
        if world.replicas.get(&id).is_some_and(damaged) {
            world.replace(id);
        }
    }
}
