//! Command lines of the checks that Debian packs.

/// These give the same each time. `_` stands for a space within an argument, `{…}` for a port or the folder.
pub const STEADY: &str = "
check_dummy 0
check_dummy 1
check_dummy 2
check_dummy 3
check_dummy 4
check_dummy -1
check_dummy
check_dummy 0 all_is_well
check_dummy 1 x_|_a=1
check_dummy 2 x|a=1;2;3;4;5_b=2
check_dummy 0 x|'a_b'=1.5MB;@1:2;~:3;0;10
check_dummy 0 x|'it''s'=1;;;;_c=-0.5;-1:1;-2:2
check_dummy 0 x|a=U_b=1
check_dummy 0 x|a=18446744073709551615B;;;0;18446744073709551615
check_dummy 3 x|a=99999999999999999999999c
check_dummy 0 ä_ö_|_ü=1%;80;90
check_dummy 2 |a=1
check_disk -w 10% -c 5% -p /nowhere
check_procs -m NOTHING
check_procs -C no-such-program -c 1:
check_procs -C no-such|a=1 -w 1:
check_load -w a
check_load
check_users -w 9999 -c 99999
check_swap
check_swap -w 10% -c 20%
check_log -F {folder}/log -O {folder}/old1 -q nothing
check_log -F {folder}/none -O {folder}/old2 -q x
check_log -F /etc/passwd -O {folder}/with_old -q root
check_file_age -f {folder}/none
check_file_age -i -f {folder}/none
check_file_age
check_cluster -s -l web -d 0,1,2,3 -w 0 -c 1
check_cluster -s -d 0,0,2 -w 0 -c @2:
check_cluster -h -d 0,0
check_cluster
check_mailq -w 1
check_mrtg -F {folder}/log -a MAX -v 1 -w 1 -c 2
check_mrtgtraf -F {folder}/none -a MAX -w 1,1 -c 2,2
check_nagios -F {folder}/none -e 5 -C x
check_ide_smart -d /dev/null
check_sensors
check_flexlm
check_wave
check_breeze
check_ifstatus -H 127.0.0.1
check_ifoperstatus -H 127.0.0.1 -k 1
check_oracle --tns x
check_disk_smb -H a -s b
check_rpc -H 127.0.0.1 -C nfs
check_tcp -H 127.0.0.1 -p {closed}
check_tcp -H 127.0.0.1 -p {closed} -r warn
check_tcp -H 127.0.0.1 -p {closed} -r ok
check_tcp
check_udp -H 127.0.0.1 -p {closed} -s x -e y -t 1
check_http -I 127.0.0.1 -p {closed}
check_http -I 127.0.0.1 -p {silent} -t 1
check_ssh -p {closed} 127.0.0.1
check_by_ssh -H 127.0.0.1 -C true -p {closed}
check_clamd -H 127.0.0.1 -p {closed}
check_ups -H 127.0.0.1 -p {closed} -u x
check_time -H 127.0.0.1 -p {closed}
check_nt -H 127.0.0.1 -p {closed} -v UPTIME
check_nwstat -H 127.0.0.1 -p {closed} -v LOAD1
check_overcr -H 127.0.0.1 -p {closed} -v LOAD
check_real -H 127.0.0.1 -p {closed}
check_dns -H localhost -s 127.0.0.1 -t 2
check_ldap -H 127.0.0.1 -b dc=x -p {closed}
check_pgsql -H 127.0.0.1 -P {closed}
check_radius -H 127.0.0.1
check_mysql -H 127.0.0.1
negate {plugins}/check_dummy 2 x|a=1
negate -w OK {plugins}/check_dummy 1 x
negate -o CRITICAL -s {plugins}/check_dummy 0 fine
urlize http://x/?a=1 {plugins}/check_dummy 0 x
";

/// The values of these differ from time to time.
pub const MOVING: &str = "
check_load -w 9999,9999,9999 -c 99999,99999,99999
check_load -r -w 9999 -c 99999
check_disk -w 0% -c 0% -p /
check_disk -c 100% -p /
check_disk -w x -p /
check_disk -w 1 -c 1 -u GiB -p / -p /dev/shm
check_disk -P -w 0% -c 0% -W 0% -K 0% -p / -p /dev/shm
check_disk -f -w 0% -c 0% -p / -u kB
check_disk -M -w 0% -c 0% -p /
check_disk -w 0% -c 0% -g all -p / -p /dev/shm
check_swap -w 0% -c 0% -n ok
check_swap -a -w 1 -c 1 -n warning
check_procs -w 1:1000000 -c 1:2000000
check_procs -w 1000000:
check_procs -m VSZ -w 9999999999999999
check_procs -m RSS -w 0
check_procs -m CPU -w 9999
check_procs -m ELAPSED -w 999999999
check_procs -u root
check_users -w 1000 -c 2000
check_file_age -f /etc/passwd -w 999999999 -c 9999999999
check_file_age -f /etc/passwd -w 999999999 -c 9999999999 -W 1 -C 999999999:
check_file_age -f /etc/passwd -w 1 -c 1
check_tcp -H 127.0.0.1 -p {smtp}
check_tcp -H 127.0.0.1 -p {smtp} -e 220 -w 100 -c 200
check_tcp -H 127.0.0.1 -p {smtp} -e 999 -M warn
check_tcp -H 127.0.0.1 -p {clamd} -E -s PING\\n -e PONG
check_udp -H 127.0.0.1 -p {udp} -s hello -e hello -w 100 -c 200
check_udp -H 127.0.0.1 -p {udp} -s hello -e other
check_smtp -H 127.0.0.1 -p {smtp} -w 100 -c 200
check_smtp -H 127.0.0.1 -p {smtp} -e 554
check_smtp -H 127.0.0.1 -p {closed}
check_ftp -H 127.0.0.1 -p {ftp}
check_ftp -H 127.0.0.1 -p {ftp} -e 999 -w 100 -c 200
check_pop -H 127.0.0.1 -p {pop}
check_imap -H 127.0.0.1 -p {imap}
check_clamd -H 127.0.0.1 -p {clamd}
check_ssh -p {ssh} 127.0.0.1
check_ssh -p {ssh} -r OpenSSH_1 127.0.0.1
check_http -I 127.0.0.1 -p {http}
check_http -I 127.0.0.1 -p {http} -w 100 -c 200 -E
check_http -I 127.0.0.1 -p {http} -u /missing
check_http -I 127.0.0.1 -p {http} -u /missing -e 404
check_http -I 127.0.0.1 -p {http} -s well -m 1:9
check_http -I 127.0.0.1 -p {http} -s not|there=1
check_http -I 127.0.0.1 -p {http} -L
check_ntp_time -H 127.0.0.1 -p {closed} -t 2
check_ntp_peer -H 127.0.0.1 -p {closed} -t 2
check_ntp -H 127.0.0.1 -t 2
check_ping -H 127.0.0.1 -w 1000,50% -c 2000,100% -p 1
check_icmp -H 127.0.0.1 -w 1000,50% -c 2000,100%
check_rta_multi -H 127.0.0.1 -H 127.0.0.2 -w 1000,50% -c 2000,100%
negate -o CRITICAL -s {plugins}/check_load -w 9999 -c 99999
";
