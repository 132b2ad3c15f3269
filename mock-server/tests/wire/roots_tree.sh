# Makes a root file system in the directory named by the first argument, as root does. Programs come from the host's
# /usr by a bind.
set -e
mkdir -p "$1"
cd "$1"
mkdir -p etc usr tmp root srv/open home/daytona
echo 'root:x:0:0::/root:/bin/sh' >etc/passwd
echo 'root:x:0:' >etc/group
echo mine >home/daytona/.profile
echo all >srv/all
echo hidden >etc/hidden
ln -s usr/bin bin
ln -s usr/lib lib
ln -s usr/lib64 lib64
chmod 755 . etc usr srv home home/daytona
chmod 1777 tmp srv/open
chmod 700 root
chmod 666 srv/all
chmod 600 etc/hidden
[ "$(id -u)" != 0 ] || chown -R 1000:1000 home/daytona
