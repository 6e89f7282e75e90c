#!/bin/sh
# git, as used by a developer and by a server over file://. Names and dates are fixed, and so are all hashes.
#
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

export GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=Author GIT_AUTHOR_EMAIL=author@example.org
export GIT_COMMITTER_NAME=Committer GIT_COMMITTER_EMAIL=committer@example.org
cat >.gitconfig <<'EOF'
[init]
    defaultBranch = main
[gc]
    auto = 0
    autoDetach = false
[pack]
    threads = 2
[grep]
    threads = 2
[protocol "file"]
    allow = always
[advice]
    detachedHead = false
EOF

# commit MESSAGE: one more commit, a minute after the one before.
now=1000000000
commit() {
    now=$((now + 60))
    export GIT_AUTHOR_DATE="$now +0000" GIT_COMMITTER_DATE="$now +0000"
    git add -A
    git commit -q -m "$1"
}

git init -q origin
cd origin
for n in 1 2 3 4 5; do
    seq "$n" $((n * 100)) >"file$n"
    mkdir -p dir && echo "$n" >"dir/$n"
    commit "Commit $n"
done
git log --format='%h %ad %an %s' --date=iso
same 'the tree is clean' '' "$(git status --porcelain)"

# Branches and merges, one of them with a conflict.
git checkout -q -b topic
sed -i 's/^50$/fifty/' file1 && commit 'Spell fifty'
git checkout -q main
sed -i 's/^60$/sixty/' file1 && commit 'Spell sixty'
git merge -q --no-edit topic
same 'a merge' '2' "$(grep -c -E 'fifty|sixty' file1)"
git checkout -q -b conflict HEAD~1
sed -i 's/^50$/FIFTY/' file1 && commit 'Shout fifty'
if git merge -q main >/dev/null 2>&1; then verdict 1 'a conflict'; else verdict 0 'a conflict'; fi
git diff --name-only --diff-filter=U
git checkout -q --theirs file1 && commit 'Merge main, theirs'
git checkout -q main
git merge -q conflict
git log --graph --oneline --all
git diff --stat HEAD~4 HEAD
git show --format=%s --stat HEAD~1 | head -n 1
git blame -s -L 48,50 file1

# Rewriting: stash, cherry-pick, rebase, revert, amend, tags, notes.
echo stashed >>file2 && git stash -q
same 'stash' '' "$(git status --porcelain)"
git stash pop -q && git checkout -q file2
git checkout -q -b side HEAD~2 && echo side >side && commit 'Side'
git checkout -q main && git cherry-pick side >/dev/null
git checkout -q side && git rebase -q main >/dev/null 2>&1
git checkout -q main && git revert --no-edit HEAD >/dev/null
git commit -q --amend -m 'Take it back'
git tag -a -m 'First release' v1 && git notes add -m 'A note' HEAD
git describe
git for-each-ref --format='%(objecttype) %(refname)'
git bisect start HEAD v1~6 >/dev/null
git bisect run grep -q fifty file1 >/dev/null 2>&1 || :
git bisect reset >/dev/null 2>&1
git grep -n -c 99 -- 'file*'
git archive --format=tar HEAD | tar -tf - | wc -l

# Maintenance, and other repositories over file://.
git gc -q --prune=now && git repack -q -a -d -f --depth=5 --window=5
check 'fsck' git fsck --strict --no-progress --no-dangling
git count-objects -v | grep -E '^(count|in-pack|packs)'
git commit-graph write --reachable --no-progress
git clone -q --bare "file://$work/origin" "$work/hub.git"
git clone -q "file://$work/hub.git" "$work/clone"
git clone -q --depth 1 "file://$work/hub.git" "$work/shallow"
same 'a shallow clone' '1' "$(git -C "$work/shallow" rev-list --count HEAD)"
cd "$work/clone"
echo cloned >cloned && commit 'From the clone'
git push -q origin main
cd "$work/origin"
git remote add hub "file://$work/hub.git"
git fetch -q hub && git merge -q --ff-only hub/main
same 'round trip through a hub' 'cloned' "$(cat cloned)"
git bundle create -q "$work/all.bundle" --all
git clone -q "$work/all.bundle" "$work/unbundled"
same 'a bundle' "$(git rev-parse main)" "$(git -C "$work/unbundled" rev-parse HEAD)"
git worktree add -q "$work/worktree" v1
git submodule --quiet add ../hub.git module && commit 'A module'
printf '#!/bin/sh\necho hook ran\nexit 1\n' >.git/hooks/pre-commit && chmod +x .git/hooks/pre-commit
if git commit -q --allow-empty -m never 2>/dev/null; then verdict 1 'a hook refuses'; else verdict 0 'a hook refuses'; fi
git rev-parse HEAD
finish
