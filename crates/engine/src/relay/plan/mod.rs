//! The origin's plan: which member fetches which stripe from which parent. Every operation costs
//! O(log n) in the number of members, whatever the shape of the trees. No messages.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
};

use sow_wire::bittorrent::Parent;

use crate::{address_book::reaches, io::ConnId};

/// The number of stripes, and of trees.
const STRIPES: usize = 3;

/// Children of one member, over all stripes: as many as fill an uplink that is as fast as the
/// downlink.
const MAX_CHILDREN: usize = STRIPES;

/// Children of the origin in one tree: one, and another where no member has a place.
const MAX_TOP: usize = 2;

/// The depth of a member without a parent: lower than any other one, as what it gets it gets late.
const ADRIFT_DEPTH: u32 = 64;

/// Members without a parent that are looked at when members come and go.
const MAX_TAKEN_UP: usize = 4;

/// Members that are looked at for one place.
const MAX_CONSIDERED: usize = 64;

/// Former parents that a member does not get again.
const MAX_REJECTED: usize = 8;

/// Complaints of others that a member may have without a consequence: one may be a lie.
const MAX_COMPLAINTS: usize = 1;

/// Where a member gets a stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Feeder {
    /// From any peer that has its pieces: no parent has a place.
    #[default]
    Unassigned,
    Origin,
    Member(ConnId),
}

/// The trees of one crowd.
#[derive(Debug)]
pub(crate) struct Plan {
    members: BTreeMap<ConnId, Member>,
    trees: [Tree; STRIPES],
    /// Members whose parents have changed since they were taken.
    changed: BTreeSet<ConnId>,
}

/// Pieces by which a parent may be behind its child: what it lacks of them it has soon.
#[derive(Clone, Copy)]
pub(crate) struct Progress<'a> {
    /// How many pieces a member has.
    pub(crate) pieces_of: &'a dyn Fn(ConnId) -> u32,
    /// How many pieces a parent may have less than its child.
    pub(crate) slack: u32,
}

#[derive(Debug)]
struct Member {
    /// Where others reach it; `None`: nowhere, so that it has no children.
    addr: Option<SocketAddr>,
    /// The stripe that it passes on, before others.
    home: usize,
    /// How many children it may have.
    max_children: usize,
    /// In the tree of each stripe.
    nodes: [Node; STRIPES],
    rejected: VecDeque<Feeder>,
    /// Children that said that it does not send what it has.
    complainers: BTreeSet<ConnId>,
}

#[derive(Debug, Default)]
struct Node {
    parent: Feeder,
    children: BTreeSet<ConnId>,
    /// The members from the origin to this one, this one included.
    depth: u32,
}

#[derive(Debug, Default)]
struct Tree {
    /// Children of the origin.
    top: BTreeSet<ConnId>,
    /// Members at home in this tree that may have another child, by their depth.
    places: BTreeSet<(u32, ConnId)>,
    /// Members that are at home in another tree and have no children in this one, by their depth.
    guests: BTreeSet<(u32, ConnId)>,
    /// Members without a parent in this tree.
    adrift: BTreeSet<ConnId>,
    /// How many members are at home here.
    residents: usize,
}

impl Member {
    fn children(&self) -> usize {
        self.nodes.iter().map(|node| node.children.len()).sum()
    }

    fn has_place(&self) -> bool {
        self.addr.is_some() && self.children() < self.max_children
    }
}

impl Plan {
    /// The number of stripes.
    pub(crate) const STRIPES: usize = STRIPES;

    pub(crate) fn new() -> Self {
        Self {
            members: BTreeMap::new(),
            trees: std::array::from_fn(|_| Tree::default()),
            changed: BTreeSet::new(),
        }
    }

    pub(crate) fn is_member(&self, conn: ConnId) -> bool {
        self.members.contains_key(&conn)
    }

    /// A receiver joins. `addr`: where others reach it, if they can.
    pub(crate) fn join(&mut self, conn: ConnId, addr: Option<SocketAddr>, progress: Progress<'_>) {
        if self.is_member(conn) {
            self.changed.insert(conn);
            return;
        }
        let fewest = (0..STRIPES).min_by_key(|&stripe| self.trees[stripe].residents);
        let home = fewest.unwrap_or_default();
        self.trees[home].residents += 1;
        let member = Member {
            addr,
            home,
            max_children: MAX_CHILDREN,
            nodes: Default::default(),
            rejected: VecDeque::new(),
            complainers: BTreeSet::new(),
        };
        self.members.insert(conn, member);
        if !self.replace_guest(home, conn, progress) {
            self.attach(home, conn, progress);
        }
        for stripe in (0..STRIPES).filter(|&stripe| stripe != home) {
            self.attach(stripe, conn, progress);
        }
        self.take_up_adrift(progress);
    }

    /// A member is gone: others take its places.
    pub(crate) fn leave(&mut self, conn: ConnId, progress: Progress<'_>) {
        let Some(home) = self.members.get(&conn).map(|member| member.home) else { return };
        self.trees[home].residents -= 1;
        self.unlist(conn);
        if let Some(member) = self.members.get_mut(&conn) {
            member.addr = None;
        }
        for stripe in 0..STRIPES {
            let orphans = std::mem::take(&mut self.node_mut(stripe, conn).children);
            let parent = self.detach(stripe, conn);
            if !orphans.is_empty() {
                self.adopt(stripe, parent, orphans, progress);
            }
        }
        self.members.remove(&conn);
        self.changed.remove(&conn);
        self.take_up_adrift(progress);
    }

    /// A member does not get a stripe as it should, and gets another parent. `is_at_fault`: its
    /// parent has what it does not send. When several say so, it may have fewer children.
    pub(crate) fn orphan(
        &mut self,
        conn: ConnId,
        stripe: usize,
        is_at_fault: bool,
        progress: Progress<'_>,
    ) {
        if stripe >= STRIPES || !self.is_member(conn) {
            return;
        }
        let parent = self.detach(stripe, conn);
        if let Some(member) = self.members.get_mut(&conn) {
            member.rejected.push_back(parent);
            if member.rejected.len() > MAX_REJECTED {
                member.rejected.pop_front();
            }
        }
        if let (Feeder::Member(parent), true) = (parent, is_at_fault) {
            if let Some(blamed) = self.members.get_mut(&parent)
                && blamed.complainers.len() <= 2 * MAX_CHILDREN
                && blamed.complainers.insert(conn)
                && blamed.complainers.len() > MAX_COMPLAINTS
            {
                blamed.max_children = blamed.max_children.saturating_sub(1);
            }
            self.refresh(parent);
        }
        self.attach(stripe, conn, progress);
    }

    /// The members whose parents have changed, each with its parents.
    pub(crate) fn take_changed(&mut self) -> Vec<(ConnId, Vec<Parent>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|conn| (conn, self.parents_of(conn))).collect()
    }

    /// Whether a member passes anything on.
    pub(crate) fn has_children(&self, conn: ConnId) -> bool {
        self.members.get(&conn).is_some_and(|member| member.children() > 0)
    }

    /// Whether a member gets some stripe from any peer that has it.
    pub(crate) fn is_any_adrift(&self, conn: ConnId) -> bool {
        (0..STRIPES as u32).any(|stripe| self.is_adrift(conn, stripe))
    }

    /// Whether a member gets a piece from any peer that has it.
    pub(crate) fn is_adrift(&self, conn: ConnId, piece: u32) -> bool {
        let member = self.members.get(&conn);
        member.is_some_and(|member| {
            member.nodes[piece as usize % STRIPES].parent == Feeder::Unassigned
        })
    }

    fn parents_of(&self, conn: ConnId) -> Vec<Parent> {
        let parent_in = |stripe| match self.node(stripe, conn).parent {
            Feeder::Unassigned => Parent::Unassigned,
            Feeder::Origin => Parent::Sender,
            Feeder::Member(parent) => {
                self.members[&parent].addr.map_or(Parent::Unassigned, Parent::Peer)
            }
        };
        (0..STRIPES).map(parent_in).collect()
    }

    fn node(&self, stripe: usize, conn: ConnId) -> &Node {
        &self.members[&conn].nodes[stripe]
    }

    fn node_mut(&mut self, stripe: usize, conn: ConnId) -> &mut Node {
        let member = self.members.get_mut(&conn).expect("it is a member");
        &mut member.nodes[stripe]
    }

    /// Puts a new member in the place of the highest guest of the tree where it is at home, if that
    /// is higher than any free place: who passes nothing on should be below those who do.
    fn replace_guest(&mut self, stripe: usize, conn: ConnId, progress: Progress<'_>) -> bool {
        let place = self.find_place(stripe, conn, progress);
        let place = self.depth_below(stripe, place);
        let guests = self.trees[stripe].guests.iter().take(MAX_CONSIDERED);
        let guest = guests.take_while(|&&(depth, _)| depth <= place).map(|&(_, guest)| guest).find(
            |&guest| {
                let parent = self.node(stripe, guest).parent;
                self.may_feed(parent, conn, stripe, progress)
                    && self.may_feed(Feeder::Member(conn), guest, stripe, progress)
            },
        );
        let Some(guest) = guest else { return false };
        let parent = self.detach(stripe, guest);
        self.attach_to(stripe, parent, conn);
        self.attach_to(stripe, Feeder::Member(conn), guest);
        true
    }

    /// Gives parents to members that have none, as far as there are places now.
    fn take_up_adrift(&mut self, progress: Progress<'_>) {
        for stripe in 0..STRIPES {
            let adrift = &self.trees[stripe].adrift;
            for conn in adrift.iter().copied().take(MAX_TAKEN_UP).collect::<Vec<ConnId>>() {
                let parent = self.find_place(stripe, conn, progress);
                if parent != Feeder::Unassigned {
                    self.detach(stripe, conn);
                    self.attach_to(stripe, parent, conn);
                }
            }
        }
    }

    /// Puts a member, with all that is below it, where a parent has a place.
    fn attach(&mut self, stripe: usize, conn: ConnId, progress: Progress<'_>) {
        let parent = self.find_place(stripe, conn, progress);
        self.attach_to(stripe, parent, conn);
    }

    /// A parent for a member: the origin, if it has no child in this tree; else the highest member
    /// that is at home in this tree and has a place; else one that is at home in another tree; else
    /// the origin again.
    fn find_place(&self, stripe: usize, conn: ConnId, progress: Progress<'_>) -> Feeder {
        let top = self.trees[stripe].top.len();
        let is_origin_free = self.may_feed(Feeder::Origin, conn, stripe, progress);
        if top == 0 && is_origin_free {
            return Feeder::Origin;
        }
        let may_feed =
            |parent: &ConnId| self.may_feed(Feeder::Member(*parent), conn, stripe, progress);
        let considered = |tree: &Tree| {
            let places = tree.places.iter().take(MAX_CONSIDERED);
            places.map(|&(_, parent)| parent).collect::<Vec<ConnId>>()
        };
        let at_home = considered(&self.trees[stripe]).into_iter().find(may_feed);
        let elsewhere = || {
            let others = (0..STRIPES).filter(|&other| other != stripe);
            let lenders = others.flat_map(|other| considered(&self.trees[other]));
            lenders.filter(may_feed).min_by_key(|&lender| self.node(stripe, lender).depth)
        };
        match at_home.or_else(elsewhere) {
            Some(parent) => Feeder::Member(parent),
            None if top < MAX_TOP && is_origin_free => Feeder::Origin,
            None => Feeder::Unassigned,
        }
    }

    /// Whether a parent may have a member as its child: the member reaches it, has not had it
    /// before, is not above it, and is not far ahead of it.
    fn may_feed(
        &self,
        parent: Feeder,
        conn: ConnId,
        stripe: usize,
        progress: Progress<'_>,
    ) -> bool {
        let child = &self.members[&conn];
        if child.rejected.contains(&parent) {
            return false;
        }
        let Feeder::Member(parent) = parent else { return true };
        let Some(addr) = self.members[&parent].addr.filter(|_| parent != conn) else {
            return false;
        };
        let Progress { pieces_of, slack } = progress;
        let is_reached = child.addr.is_none_or(|at| reaches(Some(at), addr.ip()));
        is_reached
            && pieces_of(parent).saturating_add(slack) >= pieces_of(conn)
            && !self.is_above(stripe, conn, parent)
    }

    /// Whether one member is above another one.
    fn is_above(&self, stripe: usize, upper: ConnId, lower: ConnId) -> bool {
        let mut at = Feeder::Member(lower);
        while let Feeder::Member(member) = at {
            if member == upper {
                return true;
            }
            at = self.node(stripe, member).parent;
        }
        false
    }

    fn depth_below(&self, stripe: usize, parent: Feeder) -> u32 {
        match parent {
            Feeder::Unassigned => ADRIFT_DEPTH,
            Feeder::Origin => 1,
            Feeder::Member(parent) => self.node(stripe, parent).depth + 1,
        }
    }

    fn attach_to(&mut self, stripe: usize, parent: Feeder, conn: ConnId) {
        let depth = self.depth_below(stripe, parent);
        match parent {
            Feeder::Unassigned => _ = self.trees[stripe].adrift.insert(conn),
            Feeder::Origin => _ = self.trees[stripe].top.insert(conn),
            Feeder::Member(parent) => {
                self.node_mut(stripe, parent).children.insert(conn);
                self.refresh(parent);
            }
        }
        self.node_mut(stripe, conn).parent = parent;
        self.changed.insert(conn);
        self.set_depth(stripe, conn, depth);
    }

    /// Takes a member from its parent, which is returned.
    fn detach(&mut self, stripe: usize, conn: ConnId) -> Feeder {
        let parent = std::mem::take(&mut self.node_mut(stripe, conn).parent);
        match parent {
            Feeder::Unassigned => _ = self.trees[stripe].adrift.remove(&conn),
            Feeder::Origin => _ = self.trees[stripe].top.remove(&conn),
            Feeder::Member(parent) => {
                self.node_mut(stripe, parent).children.remove(&conn);
                self.refresh(parent);
            }
        }
        parent
    }

    /// Notes the depth of a member, and of those below it.
    fn set_depth(&mut self, stripe: usize, conn: ConnId, depth: u32) {
        let mut moved = vec![(conn, depth)];
        while let Some((conn, depth)) = moved.pop() {
            self.unlist(conn);
            let node = self.node_mut(stripe, conn);
            node.depth = depth;
            moved.extend(node.children.iter().map(|&child| (child, depth + 1)));
            self.refresh(conn);
        }
    }

    fn unlist(&mut self, conn: ConnId) {
        let member = &self.members[&conn];
        for (tree, node) in self.trees.iter_mut().zip(&member.nodes) {
            tree.places.remove(&(node.depth, conn));
            tree.guests.remove(&(node.depth, conn));
        }
    }

    /// Lists a member where it belongs: among the places of its home, among the guests elsewhere.
    fn refresh(&mut self, conn: ConnId) {
        self.unlist(conn);
        let member = &self.members[&conn];
        for (stripe, node) in member.nodes.iter().enumerate() {
            let is_attached = node.depth > 0;
            let tree = &mut self.trees[stripe];
            if member.home == stripe && is_attached && member.has_place() {
                tree.places.insert((node.depth, conn));
            } else if member.home != stripe && is_attached && node.children.is_empty() {
                tree.guests.insert((node.depth, conn));
            }
        }
    }

    /// Finds parents for the children of a member that left. One of them takes its place, with the
    /// others below it; of its own children one takes its former place, and so on: the tree becomes
    /// no deeper. Who is left over at the end goes where there is a place.
    fn adopt(
        &mut self,
        stripe: usize,
        mut parent: Feeder,
        orphans: BTreeSet<ConnId>,
        progress: Progress<'_>,
    ) {
        let mut orphans = self.set_adrift(stripe, orphans);
        while let Some(at) = self.find_heir(stripe, parent, &orphans, progress) {
            let heir = orphans.swap_remove(at);
            let children = std::mem::take(&mut self.node_mut(stripe, heir).children);
            let mut children = self.set_adrift(stripe, children);
            self.attach_to(stripe, parent, heir);
            for orphan in orphans.drain(..) {
                self.attach_to(stripe, Feeder::Member(heir), orphan);
            }
            // Those that pass the stripe on come last: one of them is the next heir.
            children.sort_by_key(|child| self.members[child].home == stripe);
            let member = &self.members[&heir];
            let free = member.max_children.saturating_sub(member.children());
            let kept = if children.len() <= free { free } else { free.saturating_sub(1) };
            orphans = children.split_off(kept.min(children.len()));
            for child in children {
                self.attach_to(stripe, Feeder::Member(heir), child);
            }
            parent = if free > 0 { Feeder::Member(heir) } else { Feeder::Unassigned };
        }
        for orphan in orphans {
            self.attach(stripe, orphan, progress);
        }
    }

    /// Members that have lost their parent, and whose new one is yet to be found.
    fn set_adrift(&mut self, stripe: usize, members: BTreeSet<ConnId>) -> Vec<ConnId> {
        for &member in &members {
            self.node_mut(stripe, member).parent = Feeder::Unassigned;
        }
        members.into_iter().collect()
    }

    /// The one of some members without a parent that may have this parent, and all others below it.
    fn find_heir(
        &self,
        stripe: usize,
        parent: Feeder,
        orphans: &[ConnId],
        progress: Progress<'_>,
    ) -> Option<usize> {
        if parent == Feeder::Unassigned {
            return None;
        }
        orphans.iter().position(|&heir| {
            let member = &self.members[&heir];
            let elsewhere = member.children() - member.nodes[stripe].children.len();
            let mut others = orphans.iter().filter(|&&orphan| orphan != heir);
            (orphans.len() == 1 || member.home == stripe)
                && elsewhere + orphans.len() <= member.max_children + 1
                && self.may_feed(parent, heir, stripe, progress)
                && others.all(|&other| self.may_feed(Feeder::Member(heir), other, stripe, progress))
        })
    }
}

#[cfg(test)]
mod tests;
