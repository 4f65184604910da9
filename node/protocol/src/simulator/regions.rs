//! How far apart brokers are.

/// How many regions the table has.
pub const REGIONS: usize = 17;

/// Their names, those of a cloud that has data centres there.
pub const NAMES: [&str; REGIONS] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ca-central-1",
    "sa-east-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-central-1",
    "eu-north-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "af-south-1",
];

/// Round trip times, milliseconds, as such data centres measure them: row by row the regions before each, and a few
/// milliseconds within one.
const ROUND_TRIP_MS: [&[i64]; REGIONS] = [
    &[2],
    &[13, 2],
    &[62, 52, 2],
    &[66, 50, 22, 2],
    &[16, 26, 78, 60, 2],
    &[115, 124, 174, 176, 126, 2],
    &[68, 78, 130, 120, 70, 177, 2],
    &[77, 86, 147, 138, 78, 186, 12, 2],
    &[83, 92, 143, 140, 85, 194, 19, 9, 2],
    &[92, 102, 152, 142, 93, 203, 26, 16, 10, 2],
    &[112, 120, 174, 160, 106, 216, 41, 32, 29, 22, 2],
    &[190, 200, 230, 218, 192, 305, 124, 113, 106, 122, 140, 2],
    &[216, 206, 172, 163, 218, 325, 176, 167, 160, 158, 176, 58, 2],
    &[200, 190, 139, 140, 200, 312, 255, 264, 280, 250, 272, 148, 94, 2],
    &[147, 135, 109, 98, 146, 258, 203, 212, 220, 224, 242, 122, 70, 105, 2],
    &[176, 164, 135, 124, 172, 285, 230, 238, 246, 224, 248, 128, 74, 140, 35, 2],
    &[226, 236, 288, 276, 226, 340, 158, 152, 148, 155, 176, 270, 318, 410, 355, 380, 2],
];

/// The time from one region to another, milliseconds; both ways take the same.
pub fn one_way_ms(from: usize, to: usize) -> i64 {
    let (low, high) = if from < to { (from, to) } else { (to, from) };
    ROUND_TRIP_MS[high % REGIONS][low % REGIONS] / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_regions_has_a_time_and_the_mean_is_that_of_the_world() {
        assert!(ROUND_TRIP_MS.iter().enumerate().all(|(row, times)| times.len() == row + 1));
        let pairs = (0..REGIONS).flat_map(|a| (0..REGIONS).map(move |b| (a, b)));
        let apart: Vec<_> = pairs.filter(|(a, b)| a != b).map(|(a, b)| one_way_ms(a, b)).collect();
        let mean = apart.iter().sum::<i64>() / apart.len() as i64;
        assert!((65..=85).contains(&mean), "{mean}");
        assert_eq!(NAMES.len(), REGIONS);
    }
}
