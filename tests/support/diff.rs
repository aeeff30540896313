//! Two transcripts side by side, for the one who has to find out why they differ.

/// None if equal, else the lines around every difference: `-` straight, `+` through pgdial.
pub(crate) fn diff(straight: &[String], through: &[String]) -> Option<String> {
    if straight == through {
        return None;
    }
    let edits = edits(straight, through);
    let mut out = String::new();
    for (index, (mark, line)) in edits.iter().enumerate() {
        let near = edits[index.saturating_sub(6)..(index + 4).min(edits.len())].iter().any(|(mark, _)| *mark != ' ');
        if near {
            out.push_str(&format!("{mark} {line}\n"));
        } else if !out.ends_with("...\n") {
            out.push_str("  ...\n");
        }
    }
    Some(out)
}

/// Longest common subsequence; transcripts are a few hundred lines.
fn edits<'a>(left: &'a [String], right: &'a [String]) -> Vec<(char, &'a str)> {
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let mut out: Vec<(char, &str)> = left[..same].iter().map(|line| (' ', line.as_str())).collect();
    let (left, right) = (&left[same..], &right[same..]);
    if left.len() * right.len() > 4_000_000 {
        out.extend(left.iter().take(50).map(|line| ('-', line.as_str())));
        out.extend(right.iter().take(50).map(|line| ('+', line.as_str())));
        return out;
    }
    let mut length = vec![vec![0_u32; right.len() + 1]; left.len() + 1];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            length[i][j] = if left[i] == right[j] { length[i + 1][j + 1] + 1 } else { length[i + 1][j].max(length[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && left[i] == right[j] {
            out.push((' ', &left[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < left.len() && (j == right.len() || length[i + 1][j] >= length[i][j + 1]) {
            out.push(('-', &left[i]));
            i += 1;
        } else {
            out.push(('+', &right[j]));
            j += 1;
        }
    }
    out
}
