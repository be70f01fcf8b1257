# 200 derivations that do nothing, and one that needs them all.
let
  trivial = name: inputs: derivation {
    inherit name inputs;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "echo ${name} > $out" ];
  };
  leaves = builtins.genList (n: trivial "leaf-${toString n}" [ ]) 199;
in
trivial "root" leaves
