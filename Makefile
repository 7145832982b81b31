# hiems. The work is in scripts/.
#
#   make demo              show what it does, on a throw-away server (KEEP=1: leave it up)
#   make test              every test, on PostgreSQL 15 and 18 (PG=15: on one; ONLY=queue: those with
#                          this in their names, on 15)
#   make test-quick        the tests of one version without recovery and torture: for every commit
#   make test-long         the random tests and the storm, for minutes instead of seconds
#   make torture           everything goes wrong at random, and the ledger must equal the bill
#                          (SEED=n CALLS=n FAULTS=n: the run of that seed)
#   make attack            hostile arguments to every function, and an upstream of garbage, for minutes
#                          (ATTACK_SECONDS=150 each; HIEMS_TEST_SEED=n: the run of that seed)
#   make bench             how fast it is: ratios against something measured in the same run
#   make install           build for, and install into, the PostgreSQL of PG_CONFIG
#   make clean             remove everything that the scripts made

PG_CONFIG ?= pg_config
PG ?=
ONLY ?=
KEEP ?=
SEED ?=
CALLS ?=
FAULTS ?=

.PHONY: demo test test-quick test-long torture attack bench lint install clean

demo:
	@KEEP=$(KEEP) scripts/demo $(PG)

test:
	@ONLY='$(ONLY)' scripts/test $(PG)

test-quick:
	@QUICK=1 scripts/test $(PG)

test-long:
	@LONG=1 scripts/test $(PG)

torture:
	@SEED=$(SEED) CALLS=$(CALLS) FAULTS=$(FAULTS) scripts/torture $(PG)

attack:
	@scripts/attack $(PG)

bench:
	@scripts/bench $(PG)

lint:
	@scripts/lint

install:
	@scripts/install $(PG_CONFIG)

clean:
	@scripts/clean
