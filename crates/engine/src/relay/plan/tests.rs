//! Whole trees: their shape, and what a change of the crowd does to it.

use super::*;

const LEVEL: Progress<'static> = Progress { pieces_of: &|_| 0, slack: 0 };

fn addr(member: u64) -> SocketAddr {
    SocketAddr::from(([10, (member >> 16) as u8, (member >> 8) as u8, member as u8], 52000))
}

fn crowd(members: u64) -> Plan {
    let mut plan = Plan::new();
    (1..=members).for_each(|member| plan.join(ConnId(member), Some(addr(member)), LEVEL));
    plan.check();
    plan
}

impl Plan {
    /// Both ends of each edge agree, depths and lists are right, and no member has too
    /// many children.
    fn check(&self) {
        for (stripe, tree) in self.trees.iter().enumerate() {
            let mut top = BTreeSet::new();
            let mut adrift = BTreeSet::new();
            for (&conn, member) in &self.members {
                let node = &member.nodes[stripe];
                assert_eq!(node.depth, self.depth_below(stripe, node.parent), "{conn}");
                match node.parent {
                    Feeder::Unassigned => _ = adrift.insert(conn),
                    Feeder::Origin => _ = top.insert(conn),
                    Feeder::Member(parent) => {
                        assert!(self.node(stripe, parent).children.contains(&conn));
                        assert!(!self.is_above(stripe, conn, parent), "{conn} is in a circle");
                    }
                }
                for &child in &node.children {
                    assert_eq!(self.node(stripe, child).parent, Feeder::Member(conn));
                }
                assert!(member.children() <= MAX_CHILDREN);
                let is_place = member.home == stripe && member.has_place();
                assert_eq!(tree.places.contains(&(node.depth, conn)), is_place);
                let is_guest = member.home != stripe && node.children.is_empty();
                assert_eq!(tree.guests.contains(&(node.depth, conn)), is_guest);
            }
            assert_eq!((&tree.top, &tree.adrift), (&top, &adrift));
            let residents = self.members.values().filter(|member| member.home == stripe);
            assert_eq!(tree.residents, residents.count());
            assert!(tree.places.len() + tree.guests.len() <= self.members.len());
        }
    }

    fn depth(&self) -> u32 {
        let nodes = self.members.values().flat_map(|member| &member.nodes);
        nodes.map(|node| node.depth).max().unwrap_or_default()
    }

    fn copies_of_origin(&self) -> usize {
        self.trees.iter().map(|tree| tree.top.len()).sum()
    }
}

#[test]
fn the_origin_sends_each_stripe_once_and_trees_are_flat() {
    for (members, depth) in [(1, 1), (2, 2), (5, 4), (20, 5), (100, 7), (1000, 9), (4000, 11)] {
        let plan = crowd(members);
        assert_eq!(plan.copies_of_origin(), STRIPES, "{members} members");
        assert!(plan.depth() <= depth, "{members} members: {}", plan.depth());
    }
}

#[test]
fn a_change_tells_few_members() {
    let mut plan = crowd(500);
    plan.take_changed();
    plan.join(ConnId(501), Some(addr(501)), LEVEL);
    assert!(plan.take_changed().len() <= 1 + STRIPES);
    plan.leave(ConnId(7), LEVEL);
    let told = plan.take_changed();
    let path = MAX_CHILDREN * plan.depth() as usize;
    assert!(told.len() <= path, "{} members were told", told.len());
    assert!(told.iter().all(|(conn, _)| *conn != ConnId(7)));
}

#[test]
fn trees_stay_whole_and_flat_in_random_changes() {
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut plan = crowd(0);
        let mut here = Vec::new();
        for number in 1..400 {
            match rng.u8(..4) {
                0 | 1 => {
                    here.push(ConnId(number));
                    let reach = (rng.u8(..9) > 0).then(|| addr(number));
                    plan.join(ConnId(number), reach, LEVEL);
                }
                2 if !here.is_empty() => {
                    plan.leave(here.swap_remove(rng.usize(..here.len())), LEVEL);
                }
                3 if !here.is_empty() => {
                    let conn = here[rng.usize(..here.len())];
                    plan.orphan(conn, rng.usize(..STRIPES), rng.bool(), LEVEL);
                }
                _ => {}
            }
            plan.check();
        }
    }
}

#[test]
fn half_of_a_crowd_may_leave() {
    let mut plan = crowd(2000);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut members: Vec<u64> = (1..=2000).collect();
    rng.shuffle(&mut members);
    members[..1000].iter().for_each(|&member| plan.leave(ConnId(member), LEVEL));
    plan.check();
    assert!(plan.depth() <= 20, "{}", plan.depth());
    assert_eq!(plan.copies_of_origin(), STRIPES);
}

#[test]
fn a_parent_of_which_several_complain_gets_fewer_children_and_one_false_complaint_changes_nothing()
{
    let mut plan = crowd(30);
    let has_children = |plan: &Plan, parent: ConnId| plan.members[&parent].children();
    let busy = |plan: &Plan| {
        let full = plan.members.iter().filter(|(_, member)| member.children() == MAX_CHILDREN);
        full.map(|(&conn, _)| conn).next().unwrap()
    };
    let parent = busy(&plan);
    let edges: Vec<(usize, ConnId)> = (0..STRIPES)
        .flat_map(|stripe| {
            let children = plan.node(stripe, parent).children.clone();
            children.into_iter().map(move |child| (stripe, child))
        })
        .collect();
    let (stripe, complainer) = edges[0];
    (0..5).for_each(|_| plan.orphan(complainer, stripe, true, LEVEL));
    assert_eq!(plan.members[&parent].max_children, MAX_CHILDREN);
    for &(stripe, child) in &edges[1..] {
        plan.orphan(child, stripe, true, LEVEL);
        assert_ne!(plan.node(stripe, child).parent, Feeder::Member(parent));
    }
    assert!(plan.members[&parent].max_children < MAX_CHILDREN);
    assert!(has_children(&plan, parent) <= MAX_CHILDREN);
}

#[test]
fn where_no_uplink_is_left_members_are_adrift_until_one_is() {
    let mut plan = Plan::new();
    (1..=4).for_each(|member| plan.join(ConnId(member), None, LEVEL));
    plan.check();
    assert_eq!(plan.copies_of_origin(), MAX_TOP * STRIPES);
    assert!(plan.is_any_adrift(ConnId(3)) && !plan.is_any_adrift(ConnId(1)));
    assert_eq!(plan.take_changed()[3].1, [Parent::Unassigned; STRIPES]);
    plan.join(ConnId(5), Some(addr(5)), LEVEL);
    plan.check();
    let adrift = |plan: &Plan| plan.trees.iter().map(|tree| tree.adrift.len()).sum::<usize>();
    assert!(adrift(&plan) < 9, "{}", adrift(&plan));
}

#[test]
fn who_is_far_behind_feeds_no_member_that_is_ahead() {
    let mut plan = crowd(3);
    let pieces_of = |conn: ConnId| if conn.0 <= 3 { 500 } else { 0 };
    let progress = Progress { pieces_of: &pieces_of, slack: 10 };
    plan.join(ConnId(4), Some(addr(4)), progress);
    plan.check();
    assert!(!plan.has_children(ConnId(4)));
    plan.orphan(ConnId(2), 0, true, progress);
    assert!(!plan.has_children(ConnId(4)));
}

#[test]
fn who_is_reached_on_this_machine_only_feeds_no_member_elsewhere() {
    let mut plan = Plan::new();
    let local = SocketAddr::from(([127, 0, 0, 1], 4000));
    plan.join(ConnId(1), Some(local), LEVEL);
    plan.join(ConnId(2), Some(addr(2)), LEVEL);
    plan.check();
    assert!(!plan.has_children(ConnId(1)));
    assert!(plan.parents_of(ConnId(2)).iter().all(|&parent| parent == Parent::Sender));
}
