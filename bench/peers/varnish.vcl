# Started with one thread pool and malloc storage; its threads share the one CPU.
vcl 4.1;

backend origin {
    .host = "@ORIGIN_HOST@";
    .port = "@ORIGIN_PORT@";
}

sub vcl_recv {
    if (req.url ~ "^/passed") {
        return (pass);
    }
}
