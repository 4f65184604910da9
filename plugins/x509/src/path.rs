use crate::{Certificate, Roots};

/// A chain of certificates that has a root at its end: the leaf first, always the issuer behind.
pub(crate) type Path<'a> = Vec<&'a Certificate>;

/// The paths that a chain may be, by what the certificates say (RFC 5280, section 6.1, without policies): one for each root of the
/// right name. Whether the signatures hold, and whether all were in force, is not asked here.
pub(crate) fn paths<'a>(chain: &'a [Certificate], roots: &'a Roots) -> Vec<Path<'a>> {
    // A root that was sent along says nothing new.
    let chain = match chain {
        [rest @ .., last] if !rest.is_empty() && roots.0.contains(last) => rest,
        _ => chain,
    };
    let is_twice = |(at, one)| chain[..at].contains(one);
    if chain.iter().enumerate().any(is_twice) {
        return Vec::new();
    }
    let path = |root| chain.iter().chain([root]).collect::<Path<'_>>();
    roots.0.iter().map(path).filter(|path| is_path(path)).collect()
}

fn is_path(path: &[&Certificate]) -> bool {
    let [leaf, issuers @ ..] = path else { return false };
    let is_leaf = !leaf.is_authority && leaf.signs_data && leaf.fits_purpose && !leaf.is_beyond;
    // Authorities between the one that is looked at and the leaf; one that only has a new key of its own does not count.
    let mut between = 0;
    let mut below = leaf;
    for issuer in issuers {
        let may_issue = issuer.is_authority
            && issuer.signs_certificates
            && issuer.fits_purpose
            && !issuer.is_beyond
            && issuer.subject == below.issuer
            && issuer.path_max.is_none_or(|max| between <= max);
        if !may_issue {
            return false;
        }
        between += u8::from(issuer.subject != issuer.issuer);
        below = issuer;
    }
    is_leaf
}
