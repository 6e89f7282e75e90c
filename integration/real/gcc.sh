#!/bin/sh
# gcc: compiles C, links statically and dynamically, with link-time optimisation, an archive and a shared library that is loaded
# at run time; the resulting programs run.
#
# shellcheck source=lib.sh disable=SC2016 # $ORIGIN is the loader's
. "$(dirname "$0")/lib.sh"

# The recording contains the programs' paths, so they must always be the same.
built=$SC_RECORD_REAL/gcc
mkdir -p "$SC_RECORD_REAL"
mkdir "$built" || {
    echo "$built is in the way: another run of $0 made it, or a run that was killed left it behind" >&2
    exit 2
}
stop_servers() { rm -rf "$built"; }
cd "$built"

cat >answer.h <<'EOF'
int answer(int n);
EOF
cat >answer.c <<'EOF'
#include "answer.h"
int answer(int n) { return n < 2 ? n : answer(n - 1) + answer(n - 2); }
EOF
cat >main.c <<'EOF'
#include <stdio.h>
#include <string.h>
#include "answer.h"
int main(int argc, char **argv) {
    printf("%s %d\n", strrchr(argv[0], '/') + 1, answer(20));
    return argc - 1;
}
EOF
cat >threads.c <<'EOF'
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
static atomic_int sum;
static void *add(void *arg) { sum += *(int *)arg; return NULL; }
int main(void) {
    pthread_t threads[8];
    int n[8];
    for (int i = 0; i < 8; i++) { n[i] = i; pthread_create(&threads[i], NULL, add, &n[i]); }
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    printf("threads %d\n", sum);
}
EOF
cat >load.c <<'EOF'
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
    void *library = dlopen("./libanswer.so", RTLD_NOW);
    int (*answer)(int) = (int (*)(int))dlsym(library, "answer");
    printf("load %d\n", answer(10));
    return dlclose(library);
}
EOF

gcc -O2 -Wall -Werror -MMD -c main.c answer.c
same 'dependencies' 'main.o: main.c answer.h' "$(cat main.d)"
gcc -o dynamic main.o answer.o && ./dynamic
gcc -pipe -g -o debug main.c answer.c && "$built/debug"
ar rcs libanswer.a answer.o && gcc -static -o static main.o -L. -lanswer && ./static
gcc -fPIC -shared -o libanswer.so answer.c && gcc -o shared main.o -L. -lanswer '-Wl,-rpath,$ORIGIN' && ./shared
gcc -o load load.c && ./load
gcc -O2 -flto=2 -o lto main.c answer.c && ./lto
gcc -O2 -pthread -o threads threads.c && ./threads
if ./dynamic 1 2 >/dev/null; then ended=0; else ended=$?; fi
same 'the program decides its status' 2 "$ended"
if echo 'int main( {' | gcc -x c -c -o broken.o - 2>broken.txt; then ended=0; else ended=$?; fi
same 'an error' '1 error' "$ended $(grep -o error broken.txt | head -n 1)"
check 'no object of a failed compilation' [ ! -e broken.o ]
if gcc -o broken main.o 2>/dev/null; then verdict 1 'an undefined symbol'; else verdict 0 'an undefined symbol'; fi
same 'the preprocessor' '2' "$(echo '#define one 1
one + one' | gcc -E -P -x c - | tr -cd 1 | wc -c | tr -d ' ')"
same 'binutils' 'answer main' "$(nm -g --defined-only dynamic | awk '$3 == "answer" || $3 == "main" { print $3 }' | sort | paste -sd ' ')"
strip dynamic && ./dynamic
objdump -d answer.o | grep -c '<answer>:'
readelf -h static | awk '/Type:/ { print $2 }'
finish
