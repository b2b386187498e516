module ctx-benches

go 1.23
