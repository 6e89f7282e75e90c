# What bash offers for each line of stdin, with bash-completion loading the functions from XDG_DATA_DIRS.
# shellcheck source=/dev/null
. /usr/share/bash-completion/bash_completion
_completion_loader sc-record
[[ $(complete -p sc-record) =~ -F\ ([^ ]+) ]]
function=${BASH_REMATCH[1]}
while IFS= read -r COMP_LINE; do
    read -ra COMP_WORDS <<<"$COMP_LINE"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMP_POINT=${#COMP_LINE}
    COMPREPLY=()
    # compopt complains that readline is not there.
    "$function" sc-record "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
    echo "${COMPREPLY[*]}"
done
