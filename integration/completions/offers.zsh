# What zsh offers for each line of stdin: types it into a shell that has zshrc as its .zshrc, and presses TAB.
zmodload zsh/zpty
zpty shell zsh -d -i
zpty -r shell out '*ready*'
while IFS= read -r line; do
    zpty -w -n shell "$line"$'\t'
    zpty -r shell out '*the end*'
    out=${out//$'\r'/}
    print -r -- ${${(M)${(f)out//offer:/$'\n'offer:}:#offer:*}#offer:}
    zpty -w -n shell $'\C-u'
done
