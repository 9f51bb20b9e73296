//! Jain's index of fairness.
//!
//! Jain, Chiu, Hawe: "A quantitative measure of fairness and discrimination for resource allocation in shared computer
//! systems", DEC TR-301, 1984: (Σx)² / (n Σx²). Who wants less than others is not treated unfairly by getting less, so
//! x is what a namespace got over what max-min fairness would have given it of the same whole (Jain, Durresi, Babic:
//! "Throughput fairness index: an explanation", ATM Forum/99-0045, 1999).

/// What one got, and what it would have taken; by the same measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) got: f64,
    pub(super) wanted: f64,
}

/// From 1/n (one got everything) to 1 (all got what is fair). None if nobody got anything.
pub(super) fn index(shares: &[Share]) -> Option<f64> {
    let wanting: Vec<Share> = shares.iter().copied().filter(|share| share.wanted > 0.0).collect();
    let fair = max_min(&wanting);
    let each = wanting.iter().zip(fair).map(|(share, fair)| if fair > 0.0 { share.got / fair } else { 0.0 });
    let (sum, squares) = each.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    (squares > 0.0).then(|| sum * sum / (wanting.len() as f64 * squares))
}

/// What was given, given out again: to all the same, and to nobody more than it wants.
fn max_min(shares: &[Share]) -> Vec<f64> {
    let mut left: f64 = shares.iter().map(|share| share.got).sum();
    let mut by_wish: Vec<usize> = (0..shares.len()).collect();
    by_wish.sort_by(|a, b| shares[*a].wanted.total_cmp(&shares[*b].wanted));
    let mut fair = vec![0.0; shares.len()];
    for (nth, at) in by_wish.iter().enumerate() {
        fair[*at] = shares[*at].wanted.min(left / (shares.len() - nth) as f64);
        left -= fair[*at];
    }
    fair
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shares: &[(f64, f64)]) -> Option<f64> {
        let shares: Vec<Share> = shares.iter().map(|(got, wanted)| Share { got: *got, wanted: *wanted }).collect();
        index(&shares)
    }

    #[test]
    fn the_published_cases() {
        // All the same; one of four has everything; k of n share everything: k/n.
        assert_eq!(of(&[(1.0, 9.0), (1.0, 9.0), (1.0, 9.0)]), Some(1.0));
        assert_eq!(of(&[(1.0, 9.0), (0.0, 9.0), (0.0, 9.0), (0.0, 9.0)]), Some(0.25));
        assert_eq!(of(&[(1.0, 9.0), (1.0, 9.0), (0.0, 9.0), (0.0, 9.0)]), Some(0.5));
    }

    #[test]
    fn who_wants_little_is_not_treated_unfairly() {
        assert_eq!(of(&[(0.1, 0.1), (0.9, 9.0)]), Some(1.0));
        let pushed_out = of(&[(0.01, 0.1), (0.99, 9.0)]).unwrap();
        assert!(pushed_out < 0.8, "{pushed_out}");
        assert_eq!(of(&[(0.0, 0.0), (0.9, 0.9)]), Some(1.0), "who wants nothing does not count");
        assert_eq!(of(&[(0.0, 1.0)]), None);
        assert_eq!(of(&[]), None);
    }
}
