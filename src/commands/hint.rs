//! What to do about an error: the last line that the user sees.

/// The advice for an error, where there is some. The first cause that has one decides.
pub(crate) fn of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(of_cause)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    use super::exit_status::CannotStart;
    match cause.downcast_ref()? {
        CannotStart::NotFound => {
            Some("a program that is not in PATH needs its path: ./NAME".to_owned())
        }
        CannotStart::CannotExecute => {
            Some("see that it is executable (chmod +x) and that its interpreter exists".to_owned())
        }
    }
}
