//! The least of many numbers, and the least of the others, kept up to date in logarithmic time.

/// A tournament tree: each inner node holds the lesser of its two children.
#[derive(Debug)]
pub(super) struct Tournament {
    /// The root is at 1, the children of `n` at `2n` and `2n + 1`, the leaves in the second half.
    nodes: Vec<i64>,
}

impl Tournament {
    pub(super) fn new(values: impl ExactSizeIterator<Item = i64>) -> Self {
        let leaves = values.len().next_power_of_two();
        let mut nodes = vec![i64::MAX; 2 * leaves];
        nodes.splice(leaves..leaves + values.len(), values);
        for node in (1..leaves).rev() {
            nodes[node] = nodes[2 * node].min(nodes[2 * node + 1]);
        }
        Self { nodes }
    }

    pub(super) fn set(&mut self, at: usize, value: i64) {
        let mut node = self.nodes.len() / 2 + at;
        self.nodes[node] = value;
        while node > 1 {
            node /= 2;
            let least = self.nodes[2 * node].min(self.nodes[2 * node + 1]);
            if self.nodes[node] == least {
                return;
            }
            self.nodes[node] = least;
        }
    }

    /// The position of the least number, the first of equals, and the least of all the others.
    pub(super) fn best_two(&self) -> (usize, i64, i64) {
        let leaves = self.nodes.len() / 2;
        let (mut node, mut second) = (1, i64::MAX);
        while node < leaves {
            let (left, right) = (2 * node, 2 * node + 1);
            let loser = if self.nodes[left] <= self.nodes[right] { right } else { left };
            second = second.min(self.nodes[loser]);
            node = left + right - loser;
        }
        (node - leaves, self.nodes[1], second)
    }
}
