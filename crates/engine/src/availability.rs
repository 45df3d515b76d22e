//! How many peers have each piece, and the pieces in order of rarity, with random ties. No peers,
//! no requests.
//!
//! The listed pieces lie in one array, sorted by count; `starts[c]` is where count `c` begins. A
//! count changes by swapping a piece over the border to the next bucket, so that every change costs
//! O(1) whatever the number of pieces.

/// Counts per piece, and the listed pieces sorted by count.
#[derive(Debug, Clone)]
pub(crate) struct Availability {
    counts: Vec<u16>,
    order: Vec<u32>,
    /// Where a piece is in `order`; `ABSENT` when it is not listed.
    position: Vec<u32>,
    starts: Vec<u32>,
}

const ABSENT: u32 = u32::MAX;

impl Availability {
    /// No peer has any piece. The pieces for which `listed` is true are listed, in random order.
    pub(crate) fn new(pieces: u32, listed: impl Fn(u32) -> bool, rng: &mut fastrand::Rng) -> Self {
        let mut order: Vec<u32> = (0..pieces).filter(|&piece| listed(piece)).collect();
        rng.shuffle(&mut order);
        let mut position = vec![ABSENT; pieces as usize];
        for (at, &piece) in order.iter().enumerate() {
            position[piece as usize] = at as u32;
        }
        Self { counts: vec![0; pieces as usize], order, position, starts: vec![0] }
    }

    /// How often a piece was counted.
    pub(crate) fn count(&self, piece: u32) -> u16 {
        self.counts[piece as usize]
    }

    /// The listed pieces, rarest first, ties in random order.
    pub(crate) fn rarest_first(&self) -> &[u32] {
        &self.order
    }

    /// Whether a piece is listed.
    pub(crate) fn is_listed(&self, piece: u32) -> bool {
        self.position[piece as usize] != ABSENT
    }

    /// One more peer has the piece.
    pub(crate) fn add(&mut self, piece: u32, rng: &mut fastrand::Rng) {
        let count = self.counts[piece as usize];
        let Some(up) = count.checked_add(1) else { return };
        if self.is_listed(piece) {
            self.grow(up);
            // To the last place of its bucket, which then becomes the first place of the next one.
            let last = self.starts[usize::from(up)] - 1;
            self.swap(self.position[piece as usize], last);
            self.starts[usize::from(up)] = last;
        }
        self.counts[piece as usize] = up;
        self.mix(piece, rng);
    }

    /// One peer less has the piece.
    pub(crate) fn remove(&mut self, piece: u32, rng: &mut fastrand::Rng) {
        let count = self.counts[piece as usize];
        let Some(down) = count.checked_sub(1) else { return };
        if self.is_listed(piece) {
            self.grow(count);
            let first = self.starts[usize::from(count)];
            self.swap(self.position[piece as usize], first);
            self.starts[usize::from(count)] = first + 1;
        }
        self.counts[piece as usize] = down;
        self.mix(piece, rng);
    }

    /// Takes a piece off the list; its count stays.
    pub(crate) fn unlist(&mut self, piece: u32) {
        if !self.is_listed(piece) {
            return;
        }
        // It moves to the end of the list, bucket by bucket: the last piece of each bucket fills
        // the gap.
        let mut hole = self.position[piece as usize];
        for bucket in usize::from(self.counts[piece as usize])..self.starts.len() {
            let end = self.starts.get(bucket + 1).copied().unwrap_or(self.order.len() as u32);
            self.swap(hole, end - 1);
            hole = end - 1;
            if let Some(start) = self.starts.get_mut(bucket + 1) {
                *start -= 1;
            }
        }
        self.order.pop();
        self.position[piece as usize] = ABSENT;
    }

    /// Puts a piece on the list again.
    pub(crate) fn list(&mut self, piece: u32, rng: &mut fastrand::Rng) {
        if self.is_listed(piece) {
            return;
        }
        let count = self.counts[piece as usize];
        self.grow(count);
        self.position[piece as usize] = self.order.len() as u32;
        self.order.push(piece);
        // It moves from the end to its bucket: the first piece of each bucket makes room at the end
        // of the bucket.
        for bucket in (usize::from(count) + 1..self.starts.len()).rev() {
            let start = self.starts[bucket];
            self.swap(self.position[piece as usize], start);
            self.starts[bucket] = start + 1;
        }
        self.mix(piece, rng);
    }

    /// Adds the buckets up to that of `count`.
    fn grow(&mut self, count: u16) {
        while self.starts.len() <= usize::from(count) {
            self.starts.push(self.order.len() as u32);
        }
    }

    /// Swaps a listed piece with a random one of its bucket, so that ties stay random.
    fn mix(&mut self, piece: u32, rng: &mut fastrand::Rng) {
        if !self.is_listed(piece) {
            return;
        }
        let bucket = usize::from(self.counts[piece as usize]);
        let end = self.starts.get(bucket + 1).copied().unwrap_or(self.order.len() as u32);
        let other = rng.u32(self.starts[bucket]..end);
        self.swap(self.position[piece as usize], other);
    }

    fn swap(&mut self, a: u32, b: u32) {
        self.order.swap(a as usize, b as usize);
        self.position[self.order[a as usize] as usize] = a;
        self.position[self.order[b as usize] as usize] = b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &Availability) {
        assert!(a.order.is_sorted_by_key(|&piece| a.counts[piece as usize]), "{a:?}");
        for (at, &piece) in a.order.iter().enumerate() {
            assert_eq!(a.position[piece as usize], at as u32);
            let count = usize::from(a.counts[piece as usize]);
            assert!(a.starts[count] <= at as u32, "{a:?}");
            if let Some(&next) = a.starts.get(count + 1) {
                assert!((at as u32) < next, "{a:?}");
            }
        }
        let listed = a.position.iter().filter(|&&at| at != ABSENT).count();
        assert_eq!(listed, a.order.len());
    }

    #[test]
    fn random_operations_keep_the_order() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let pieces = rng.u32(1..40);
            let mut a = Availability::new(pieces, |piece| piece % 3 != 1, &mut rng);
            let mut counts = vec![0u16; pieces as usize];
            for _ in 0..300 {
                let piece = rng.u32(..pieces);
                match rng.u8(..4) {
                    0 | 1 => {
                        a.add(piece, &mut rng);
                        counts[piece as usize] += 1;
                    }
                    2 => {
                        a.remove(piece, &mut rng);
                        counts[piece as usize] = counts[piece as usize].saturating_sub(1);
                    }
                    _ if a.is_listed(piece) => a.unlist(piece),
                    _ => a.list(piece, &mut rng),
                }
                check(&a);
            }
            assert_eq!(a.counts, counts);
        }
    }

    #[test]
    fn ties_are_random() {
        let first = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut a = Availability::new(100, |_| true, &mut rng);
            (0..100).for_each(|piece| a.add(piece, &mut rng));
            a.rarest_first()[0]
        };
        let firsts: std::collections::BTreeSet<u32> = (0..50).map(first).collect();
        assert!(firsts.len() > 25, "{firsts:?}");
    }
}
