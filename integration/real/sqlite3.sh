#!/bin/sh
# The sqlite3 shell: schema, transactions, WAL with two processes at once, indexes, recovery of a killed writer, backup.
#
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

sqlite3 main.db <<'EOF'
PRAGMA journal_mode = DELETE;
PRAGMA foreign_keys = ON;
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE book (
    id INTEGER PRIMARY KEY,
    author INTEGER NOT NULL REFERENCES author ON DELETE CASCADE,
    title TEXT NOT NULL,
    pages INTEGER CHECK (pages > 0)
);
CREATE VIEW shelf AS SELECT name, title, pages FROM book JOIN author ON author.id = book.author;
CREATE TRIGGER lower_case AFTER INSERT ON author BEGIN UPDATE author SET name = lower(name) WHERE id = new.id; END;
BEGIN;
INSERT INTO author VALUES (1, 'ADA'), (2, 'BOB');
INSERT INTO book (author, title, pages) VALUES (1, 'One', 100), (1, 'Two', 200), (2, 'Three', 300);
COMMIT;
BEGIN;
DELETE FROM author;
ROLLBACK;
SELECT * FROM shelf ORDER BY title;
EOF
if sqlite3 main.db 'PRAGMA foreign_keys = ON; INSERT INTO book (author, title) VALUES (9, "Nobody")' 2>/dev/null; then
    verdict 1 'a foreign key'
else
    verdict 0 'a foreign key'
fi

# Enough rows for indexes, sorting in temporary files and VACUUM.
sqlite3 main.db <<'EOF'
PRAGMA cache_size = 50;
PRAGMA temp_store = FILE;
CREATE TABLE sample (k INTEGER, v TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
    INSERT INTO sample SELECT (i * 7919) % 20011, printf('value %06d', i) FROM n;
CREATE INDEX sample_k ON sample (k);
ANALYZE;
SELECT count(*), sum(k), max(v) FROM sample;
SELECT v FROM sample WHERE k = 42;
SELECT v, count(*) OVER () FROM sample ORDER BY v DESC, k LIMIT 1;
DELETE FROM sample WHERE k % 2;
VACUUM;
PRAGMA integrity_check;
EOF

# WAL: a reader keeps its snapshot while another process writes.
sqlite3 main.db 'PRAGMA journal_mode = WAL'
mkfifo reader.in
sqlite3 main.db <reader.in >reader.out &
exec 4>reader.in
echo 'BEGIN; SELECT count(*) FROM book;' >&4
until_true [ -s reader.out ]
sqlite3 main.db "INSERT INTO book (author, title, pages) VALUES (2, 'Four', 400)"
echo 'SELECT count(*) FROM book; COMMIT; SELECT count(*) FROM book;' >&4
exec 4>&-
wait
same 'snapshot isolation' '3 3 4' "$(paste -sd ' ' reader.out)"
if sqlite3 main.db '.timeout 100' 'BEGIN IMMEDIATE;' ".shell sqlite3 -cmd '.timeout 50' main.db 'BEGIN IMMEDIATE'" 2>&1 |
    grep -q 'database is locked'; then verdict 0 'one writer at a time'; else verdict 1 'one writer at a time'; fi
sqlite3 main.db 'PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE'

# A writer that is killed in a transaction leaves a hot journal, which the next writer rolls back.
mkfifo writer.in
sqlite3 main.db <writer.in >/dev/null 2>&1 &
writer=$!
exec 4>writer.in
cat >&4 <<'EOF'
PRAGMA cache_size = 2;
BEGIN;
UPDATE sample SET v = "torn";
.system touch torn
EOF
until_true [ -e torn ]
kill -KILL "$writer"
exec 4>&-
wait "$writer" 2>/dev/null || :
same 'a hot journal is rolled back' '0 ok' "$(sqlite3 main.db 'SELECT count(*) FROM sample WHERE v = "torn"; PRAGMA integrity_check' | paste -sd ' ')"

# Export and import.
sqlite3 main.db '.backup copy.db' "VACUUM INTO 'vacuumed.db'"
sqlite3 main.db .dump >dump.sql
sqlite3 restored.db <dump.sql
for copy in copy.db vacuumed.db restored.db; do
    sqlite3 "$copy" "ATTACH 'main.db' AS main2; SELECT count(*) FROM (SELECT * FROM book EXCEPT SELECT * FROM main2.book)"
done
sqlite3 -csv -header main.db 'SELECT * FROM shelf ORDER BY title' >shelf.csv
sqlite3 :memory: '.import --csv shelf.csv shelf' 'SELECT sum(pages) FROM shelf'
sqlite3 :memory: "SELECT json_extract('{\"a\":[1,2]}', '\$.a[1]'), hex(zeroblob(3)), strftime('%Y', 86400, 'unixepoch')"
sqlite3 :memory: "CREATE VIRTUAL TABLE t USING fts5(b); INSERT INTO t VALUES ('the quick fox'); SELECT b FROM t WHERE t MATCH 'qu*'"
finish
